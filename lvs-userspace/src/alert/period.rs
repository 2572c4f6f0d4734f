//! Times of the week and the year, in the grammar that mon's configuration has for its periods: that of
//! Perl's Time::Period 1.25. `wd {Mon-Fri} hr {9am-4pm}` is from Monday through Friday, from nine until just
//! before five. Pure.

use thiserror::Error;

/// A moment on the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub year: u32,
    /// From 1.
    pub month: u32,
    /// Of the month, from 1.
    pub day: u32,
    /// Of the year, from 1.
    pub year_day: u32,
    /// From 1, which is Sunday.
    pub weekday: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

impl LocalTime {
    /// Of the month, from 1: weeks begin on Sunday.
    const fn week(&self) -> u32 {
        // Weekday of the month's first day, Sunday being 0.
        let first = (self.weekday - 1 + 35 - (self.day - 1)) % 7;
        (self.day - 1 + first) / 7 + 1
    }
}

/// Any of several parts; without any every moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    parts: Option<Vec<Part>>,
}

/// What all must hold: for each scale the ranges one of which must contain the moment.
type Part = Vec<(Scale, Vec<Range>)>;

/// Both ends included. Wraps around when the first is the larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u32,
    to: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Year,
    Month,
    Week,
    YearDay,
    Day,
    Weekday,
    Hour,
    Minute,
    Second,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    #[error("{0:?} is not of the form `scale {{range ...}}`")]
    Form(String),
    #[error("{0:?} is no scale")]
    Scale(String),
    #[error("{value:?} is no {scale}")]
    Value { scale: &'static str, value: String },
}

impl Period {
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim().to_lowercase();
        match text.as_str() {
            "" => Ok(Self { parts: None }),
            "none" => Ok(Self { parts: Some(Vec::new()) }),
            _ => Ok(Self { parts: Some(text.split(',').map(part).collect::<Result<_, _>>()?) }),
        }
    }

    pub fn contains(&self, time: &LocalTime) -> bool {
        let Some(parts) = &self.parts else { return true };
        parts.iter().any(|part| {
            part.iter().all(|(scale, ranges)| {
                let value = scale.of(time);
                ranges.iter().any(|range| scale.contains(*range, value, time))
            })
        })
    }
}

fn part(text: &str) -> Result<Part, Mistake> {
    let form = || Mistake::Form(text.trim().to_owned());
    let mut part: Part = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('{').ok_or_else(form)?;
        let (ranges, after) = after.split_once('}').ok_or_else(form)?;
        if ranges.contains('{') {
            return Err(form());
        }
        let scale = Scale::named(name.trim())?;
        let ranges = ranges_of(scale, ranges)?;
        match part.iter_mut().find(|(known, _)| *known == scale) {
            Some((_, known)) => known.extend(ranges),
            None => part.push((scale, ranges)),
        }
        rest = after.trim_start();
    }
    if part.is_empty() { Err(form()) } else { Ok(part) }
}

fn ranges_of(scale: Scale, text: &str) -> Result<Vec<Range>, Mistake> {
    // Blanks may stand around the dash.
    let joined = text.split('-').map(str::trim).collect::<Vec<_>>().join("-");
    let ranges = joined.split_whitespace().map(|range| match range.split_once('-') {
        Some((from, to)) => Ok(Range { from: scale.value(from)?, to: scale.value(to)? }),
        None => scale.value(range).map(|value| Range { from: value, to: value }),
    });
    ranges.collect()
}

impl Scale {
    fn named(name: &str) -> Result<Self, Mistake> {
        match name {
            "yr" | "year" => Ok(Self::Year),
            "mo" | "month" => Ok(Self::Month),
            "wk" | "week" => Ok(Self::Week),
            "yd" | "yday" => Ok(Self::YearDay),
            "md" | "mday" => Ok(Self::Day),
            "wd" | "wday" => Ok(Self::Weekday),
            "hr" | "hour" => Ok(Self::Hour),
            "min" | "minute" => Ok(Self::Minute),
            "sec" | "second" => Ok(Self::Second),
            _ => Err(Mistake::Scale(name.to_owned())),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Year => "year (0-99, or from 1970 on)",
            Self::Month => "month (1-12, jan-dec)",
            Self::Week => "week of the month (1-6)",
            Self::YearDay => "day of the year (1-366)",
            Self::Day => "day of the month (1-31)",
            Self::Weekday => "day of the week (1-7, su-sa)",
            Self::Hour => "hour (0-23, 12am-11pm)",
            Self::Minute => "minute (0-59)",
            Self::Second => "second (0-59)",
        }
    }

    fn value(self, text: &str) -> Result<u32, Mistake> {
        let mistake = || Mistake::Value { scale: self.words(), value: text.to_owned() };
        let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let value = match self {
            Self::Year => number.filter(|year| *year <= 99 || *year >= 1970),
            Self::Month => number.or_else(|| named(text, &MONTHS)).filter(|month| (1..=12).contains(month)),
            Self::Week => number.filter(|week| (1..=6).contains(week)),
            Self::YearDay => number.filter(|day| (1..=366).contains(day)),
            Self::Day => number.filter(|day| (1..=31).contains(day)),
            Self::Weekday => number.or_else(|| named(text, &WEEKDAYS)).filter(|day| (1..=7).contains(day)),
            Self::Hour => number.or_else(|| twelve_hours(text)).filter(|hour| *hour <= 23),
            Self::Minute | Self::Second => number.filter(|value| *value <= 59),
        };
        value.ok_or_else(mistake)
    }

    const fn of(self, time: &LocalTime) -> u32 {
        match self {
            Self::Year => time.year,
            Self::Month => time.month,
            Self::Week => time.week(),
            Self::YearDay => time.year_day,
            Self::Day => time.day,
            Self::Weekday => time.weekday,
            Self::Hour => time.hour,
            Self::Minute => time.minute,
            Self::Second => time.second,
        }
    }

    fn contains(self, Range { from, to }: Range, value: u32, time: &LocalTime) -> bool {
        if self == Self::Year {
            // Two digits are of this century, and years do not wrap around.
            let whole = |year| if year <= 99 { time.year / 100 * 100 + year } else { year };
            let (from, to) = (whole(from), whole(to));
            return (from.min(to)..=from.max(to)).contains(&value);
        }
        if from <= to { (from..=to).contains(&value) } else { value >= from || value <= to }
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["su", "mo", "tu", "we", "th", "fr", "sa"];

/// The number, from 1, of the name that `text` begins with.
fn named(text: &str, names: &[&str]) -> Option<u32> {
    let position = names.iter().position(|name| text.starts_with(name))?;
    u32::try_from(position + 1).ok()
}

/// `12am` is 0, `12pm` and `12noon` are 12.
fn twelve_hours(text: &str) -> Option<u32> {
    if text == "12noon" {
        return Some(12);
    }
    let (digits, half) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let hour = digits.parse::<u32>().ok().filter(|hour| (1..=12).contains(hour))? % 12;
    match half {
        "am" => Some(hour),
        "pm" => Some(hour + 12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wednesday, 25 November 2026, 22:33:17: the 329th day of the year, in the month's fourth week.
    const WEDNESDAY: LocalTime = LocalTime {
        year: 2026,
        month: 11,
        day: 25,
        year_day: 329,
        weekday: 4,
        hour: 22,
        minute: 33,
        second: 17,
    };

    /// What Time::Period 1.25 says about that moment (1 in, 0 out).
    #[test]
    fn periods_mean_what_they_mean_in_mon() {
        for (period, expected) in [
            ("", true),
            ("  ", true),
            ("none", false),
            ("NONE", false),
            ("wd {Sun-Sat}", true),
            ("wd {Mon-Fri} hr {9am-6pm}", false),
            ("wd {Mon-Fri} hr {9am-6pm}, hr {22}", true),
            ("hr { 10pm - 6am }", true),
            ("hr {11pm-9pm}", false),
            ("hr {22-22}", true),
            ("wd{Thu-Tue}", false),
            ("wd{we}", true),
            ("wday {Wednesday}", true),
            ("wd {4}", true),
            ("mo {Nov-Feb}", true),
            ("mo {jan feb} mo {nov dec}", true),
            ("month {1-10}", false),
            ("wk {4}", true),
            ("wk {1 3 5}", false),
            ("yd {329}", true),
            ("md {25} min {30-40} sec {17}", true),
            ("min {40-33}", true),
            ("sec {18-16}", false),
            ("yr {26}", true),
            ("yr {2027-1999}", true),
            ("yr {0-25}", false),
            ("hr {12am-11am}", false),
        ] {
            assert_eq!(Period::parse(period).unwrap().contains(&WEDNESDAY), expected, "{period}");
        }
    }

    #[test]
    fn what_is_no_period_is_told() {
        for (period, expected) in [
            ("always", "\"always\" is not of the form `scale {range ...}`"),
            ("wd {Mon", "\"wd {mon\" is not of the form `scale {range ...}`"),
            ("wd {Mon}, ", "\"\" is not of the form `scale {range ...}`"),
            ("day {1}", "\"day\" is no scale"),
            ("hr {25}", "\"25\" is no hour (0-23, 12am-11pm)"),
            ("hr {13pm}", "\"13pm\" is no hour (0-23, 12am-11pm)"),
            ("hr {9-}", "\"\" is no hour (0-23, 12am-11pm)"),
            ("wd {xx}", "\"xx\" is no day of the week (1-7, su-sa)"),
            ("yr {1969}", "\"1969\" is no year (0-99, or from 1970 on)"),
        ] {
            assert_eq!(Period::parse(period).unwrap_err().to_string(), expected);
        }
    }
}
