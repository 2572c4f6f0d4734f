//! What follows from this director's role in its cluster, and what operators want.

use tokio::sync::oneshot;
use tracing::{error, info};

use super::Agent;
use crate::api::model;
use crate::control::Event;
use crate::health::pool::{Found, Mode, Selection};
use crate::runtime::cluster::{Cluster, Part, Turn, Wish};

impl Agent {
    pub(super) fn turned(&mut self, turn: Option<Turn>) {
        match turn {
            Some(Turn::Active { group, epoch }) => {
                info!(group, epoch, "this director is active");
                self.role_changed();
            }
            Some(Turn::Standby { group }) => {
                info!(group, "this director stands by");
                self.role_changed();
            }
            // Whoever asks for it waits for it.
            Some(Turn::Held { .. }) => {}
            Some(Turn::Told(report)) => self.health.report(report),
            Some(Turn::Desired) => self.heed(),
            Some(Turn::Others) => self.role_changed(),
            None => {
                error!(
                    "the cluster is no longer followed: restart lvsd (`lvsctl stop --keep-forwarding` first)"
                );
                self.cluster = None;
                let desired = self.health.heed(Part::default());
                self.install(desired);
            }
        }
    }

    /// Who tells whom of connections, and which way nat's probes go, follow the role.
    pub(super) fn role_changed(&mut self) {
        if let Some(cluster) = &self.cluster {
            cluster.replan(self.installed.state.snapshot());
            self.installed.dataplane.probes().stand_by(!cluster.is_active());
        }
        self.heed();
    }

    /// Whose desired state is in force follows the role, and what was heard.
    pub(super) fn heed(&mut self) {
        self.tell_rings();
        if let Some(cluster) = &mut self.cluster {
            let held = cluster.held();
            let desired = self.health.heed(cluster.part());
            self.install(desired);
            self.follow_rings();
            self.handle(Event::Held(held));
            self.tell_score();
        }
    }

    /// Directors are compared by this: what all of them know should not make a difference for long.
    pub(super) fn tell_score(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.score(|vips, holds| self.health.score(vips, holds));
        }
    }

    /// Makes the rings here what they are at the director that is followed: after what it wants of the services, since
    /// that decides who gets new flows.
    fn follow_rings(&mut self) {
        self.handle(Event::Followed(self.health.followed_rings()));
    }

    /// Tells the others what the rings here have become, while they follow this director.
    pub(super) fn tell_rings(&mut self) {
        if self.cluster.as_ref().is_some_and(Cluster::is_active) {
            self.health.tell_rings(self.installed.state.history());
        }
    }

    pub(super) async fn operate(&self, wish: Wish, group: Option<&str>) -> Result<(), model::Failure> {
        match &self.cluster {
            Some(cluster) => Ok(cluster.operate(wish, group).await.map_err(model::Failure::from)?),
            None => Err(model::Failure::new("this director is in no cluster".to_owned())),
        }
    }

    /// In force and on disk when it is answered.
    pub(super) fn maintain(
        &mut self,
        selection: &Selection,
        mode: Mode,
        answer: oneshot::Sender<Result<model::Maintained, model::Failure>>,
    ) {
        match self.set_mode(selection, mode) {
            Err(failure) => drop(answer.send(Err(failure))),
            Ok(Found { here, elsewhere }) => {
                let saved = self.health.saved();
                // The disk may take its time.
                tokio::spawn(async move {
                    let error = "it is in force, but would not survive the agent; its log has the reason";
                    let is_saved = saved.await;
                    let outcome =
                        is_saved.then_some(model::Maintained { services: here, elsewhere: elsewhere.len() });
                    drop(answer.send(outcome.ok_or_else(|| model::Failure::new(error))));
                });
            }
        }
    }

    fn set_mode(&mut self, selection: &Selection, mode: Mode) -> Result<Found, model::Failure> {
        if let Some(cluster) = self.cluster.as_ref().filter(|_| self.health.follows()) {
            let active = cluster.followed();
            let error = format!("this director stands by and follows {active}: maintain real servers there");
            return Err(model::Failure::new(error));
        }
        let found = self.health.maintain(selection, mode);
        if found.here == 0 && !found.elsewhere.is_empty() {
            let error = match &self.health.served_by(&found.elsewhere)[..] {
                [] => "nobody is known to hold its group: maintain real servers at the director that does"
                    .to_owned(),
                directors => {
                    format!("it is served by {}: maintain real servers there", directors.join(" and "))
                }
            };
            return Err(model::Failure::new(error));
        }
        if found.here == 0 {
            let port = selection.port.map_or_else(String::new, |port| format!(" with port {port}"));
            let service = selection.service.as_ref().map_or("any service", |name| name);
            let error = format!("{}{port} is no real server of {service}", selection.address);
            return Err(model::Failure::new(error));
        }
        let desired = self.health.outcome();
        self.install(desired);
        self.tell_score();
        Ok(found)
    }
}
