//! Times of the heartbeat against each other.

use std::time::Duration;

use super::raw;
use crate::config::health::scalar::{Span, written};
use crate::config::model::ClusterTiming;
use crate::config::record::{Field, Located, Reader};

/// So many beats fit into the dead time: two in a row may be lost before a node is taken for dead.
pub(super) const BEATS: u32 = 3;
/// A director that boots needs so long for its links.
const USUAL_INITDEAD: Duration = Duration::from_secs(2);
const USUAL_HOLD: Duration = Duration::from_secs(10);

pub(super) fn timing(raw: &raw::Cluster, reader: &mut Reader) -> Option<ClusterTiming> {
    let keepalive = raw.keepalive.value()?.0;
    let Located { value: Span(deadtime), place } = *raw.deadtime.located()?;
    let least = keepalive * BEATS;
    if deadtime < least {
        reader.in_key("deadtime", |reader| {
            let (deadtime, keepalive, least) = (shown(deadtime), shown(keepalive), shown(least));
            let what = format!(
                "{deadtime} is too short for beats every {keepalive}: two lost ones would be a death"
            );
            reader.mistake(place, what, format!("expected {least} or more, or a shorter `keepalive`"));
        });
        return None;
    }
    let warntime = between("warntime", &raw.warntime, deadtime / 2, reader, |given| {
        if given < keepalive {
            Some((
                format!("is shorter than the keepalive of {}: every beat would be late", shown(keepalive)),
                format!("expected {} or more", shown(keepalive)),
            ))
        } else if given > deadtime {
            Some((
                format!(
                    "is longer than the dead time of {}: the warning would follow the death",
                    shown(deadtime)
                ),
                format!("expected {} or less", shown(deadtime)),
            ))
        } else {
            None
        }
    });
    let as_long_as_deadtime = |given: Duration, why: &str| {
        let remedy = format!("expected {} or more: {why}", shown(deadtime));
        (given < deadtime).then(|| (format!("is shorter than the dead time of {}", shown(deadtime)), remedy))
    };
    let initdead = between("initdead", &raw.initdead, (deadtime * 4).max(USUAL_INITDEAD), reader, |given| {
        as_long_as_deadtime(
            given,
            "a director that starts must have heard the others before it takes anything",
        )
    });
    let hold = between("hold", &raw.hold, deadtime.max(USUAL_HOLD), reader, |given| {
        as_long_as_deadtime(given, "without a hold a director may be silent for as long")
    });
    Some(ClusterTiming {
        keepalive,
        warntime: warntime?,
        deadtime,
        initdead: initdead?,
        watchdog: raw.watchdog.value()?.0,
        hold: hold?,
    })
}

/// What an optional time says, unless there is an objection to it; `usual` if it is left out.
fn between<const LEAST: u32, const MOST: u32>(
    key: &str,
    field: &Field<Span<LEAST, MOST>>,
    usual: Duration,
    reader: &mut Reader,
    objection: impl Fn(Duration) -> Option<(String, String)>,
) -> Option<Duration> {
    let Located { value: Span(given), place } = *match field {
        Field::Absent => return Some(usual),
        field => field.located()?,
    };
    if let Some((what, remedy)) = objection(given) {
        reader.in_key(key, |reader| reader.mistake(place, format!("{} {what}", shown(given)), remedy));
        return None;
    }
    Some(given)
}

pub(super) fn shown(span: Duration) -> String {
    written(u32::try_from(span.as_millis()).unwrap_or(u32::MAX))
}
