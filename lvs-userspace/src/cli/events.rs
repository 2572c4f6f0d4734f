//! `lvsctl events`

use super::table::socket;
use crate::api::model::Events;

/// A line for each.
pub(super) fn render(events: &Events) -> String {
    if events.events.is_empty() {
        return "nothing has happened since the agent's start".to_owned();
    }
    let lines = events.events.iter().map(|event| {
        let server = event.server.map(|server| format!(" {}", socket(server.address, server.port)));
        let (time, service, what) = (utc(event.unix_milliseconds / 1000), &event.service, &event.what);
        format!("{time} {service}{} {what}: {}\n", server.unwrap_or_default(), event.reason)
    });
    lines.collect()
}

/// `2026-11-25 22:33:17Z`
fn utc(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970-01-01 ("civil_from_days", Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms"): years begin in March, so that the leap day is the last.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::{Endpoint, Event};

    #[test]
    fn an_event_is_one_line() {
        let event = |server, what: &str| Event {
            number: 1,
            unix_milliseconds: 1_795_645_997_123,
            service: "www".to_owned(),
            server,
            what: what.to_owned(),
            reason: "http: http 503 after 12 ms, 3 of 3".to_owned(),
        };
        let server = Endpoint { address: [192, 168, 0, 1].into(), port: 80 };
        let expected = "\
2026-11-25 22:33:17Z www 192.168.0.1:80 down: http: http 503 after 12 ms, 3 of 3
2026-11-25 22:33:17Z www up: http: http 503 after 12 ms, 3 of 3
";
        assert_eq!(
            render(&Events { events: vec![event(Some(server), "down"), event(None, "up")] }),
            expected
        );
    }

    /// As `date --utc --date=@N` has them.
    #[test]
    fn dates_are_the_calendars() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
