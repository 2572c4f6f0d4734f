//! What the wire says of a group's addresses before it is taken.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tracing::warn;

use crate::cluster::election::Wire;
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::{Answer, Claim, Probed, Probing, Takeover};
use crate::dataplane::monotonic_nanoseconds;

/// Questions on the wire that fit the dead time.
pub(super) fn probing(deadtime: Duration) -> Probing {
    let default = Probing::default();
    Probing {
        spacing: default.spacing.min(deadtime / 50),
        wait: default.wait.min(deadtime / 12).max(Duration::from_millis(5)),
        ..default
    }
}

/// Asks about a group, and `besides` about others, all at once. Gives what was heard of any of them, and until when it was
/// listened for, by the clock of the data plane's leases.
pub(super) async fn ask(
    takeover: &Takeover,
    group: GroupId,
    besides: &[GroupId],
    probing: Probing,
) -> (Wire, Duration) {
    let others = besides.iter().map(|other| takeover.probe(*other, probing));
    let (own, others) = join(takeover.probe(group, probing), join_all(others)).await;
    let own = match own {
        Ok(probed) => probed,
        // Who cannot ask cannot serve either.
        Err(failure) => {
            warn!(%failure, "cannot ask who has the addresses of the group");
            return (Wire::Answered, Duration::from_nanos(monotonic_nanoseconds()));
        }
    };
    let others = others.into_iter().filter_map(|probed| match probed {
        Ok(probed) => Some(probed),
        // This group may be served all the same.
        Err(failure) => {
            warn!(%failure, "cannot ask whether the silent director has the addresses of another group");
            None
        }
    });
    let others = others.map(found).map(|(wire, until)| (wire.of_another(), until));
    others.fold(found(own), |(one, until), (other, earlier)| (one.max(other), until.min(earlier)))
}

fn found(Probed { answer, until }: Probed) -> (Wire, Duration) {
    let told = |Claim { address, by }: Claim, what| {
        let by = by.map(|byte| format!("{byte:02x}")).join(":");
        warn!(%address, by, "{what}");
    };
    let wire = match answer {
        Answer::Silent => Wire::Silent,
        Answer::Answered(claim) => {
            told(claim, "somebody answers for an address of a group");
            Wire::Answered
        }
        Answer::Asked(claim) => {
            told(claim, "somebody else asks, too, whether anybody has an address of a group");
            Wire::Asked
        }
    };
    (wire, until)
}
