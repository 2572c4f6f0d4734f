//! Lists that another version of `lvsd` may have written.
//!
//! Directors of two versions tell each other their desired state for the length of an upgrade, and a state file outlives
//! a version. So the rules for whoever changes what is written: a new key has a default (`#[serde(default)]`), since the
//! older version does not write it, and is not needed, since the older one does not read it; a new variant of an
//! enumeration stands in an entry of a list that is read here, and costs the older version that entry; whatever else
//! changes is another [`VERSION`](super::pool::SAVED_VERSION), which the other version refuses as a whole.

use std::sync::Once;

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer};
use tracing::warn;

/// The entries of a list that make sense here; the others are left out. That is told once.
pub(crate) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    static TOLD: Once = Once::new();
    let entries = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let legible = entries.into_iter().filter_map(|entry| {
        let read = serde_json::from_value(entry);
        read.inspect_err(|reason| {
            TOLD.call_once(|| {
                warn!(%reason, "part of a desired state is left out of account: another version of lvsd has written it");
            });
        })
        .ok()
    });
    Ok(legible.collect())
}
