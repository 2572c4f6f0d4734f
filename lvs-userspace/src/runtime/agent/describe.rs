//! What the agent tells of itself.

use super::Agent;
use crate::api::Overview;

impl Agent {
    pub(super) fn warnings(&self) -> Vec<String> {
        let installed = &self.installed;
        let plan = installed.state.warnings().iter();
        let told = installed.dataplane.warnings().iter().chain(&self.advice).chain(plan).cloned();
        told.chain(self.next_hops.warnings()).chain(self.exporter.warnings()).collect()
    }

    pub(super) fn overview(&self) -> Overview {
        let installed = &self.installed;
        Overview {
            instance: self.options.instance.clone(),
            config: self.options.config.clone(),
            uptime: installed.now(),
            view: installed.state.describe(),
            attachments: installed.dataplane.attachments().to_vec(),
            settings: self.settings(),
            warnings: self.warnings(),
            usage: self.usage,
            reloads: self.reloads,
            events: self.health.journal.counts(),
        }
    }
}
