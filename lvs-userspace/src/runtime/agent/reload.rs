//! Another file, without an interruption.

use tracing::{error, info, warn};

use super::Agent;
use super::interfaces::wants_egress;
use crate::api::model;
use crate::config::Config;
use crate::dataplane::monotonic_nanoseconds;
use crate::runtime::cluster::Cluster;
use crate::runtime::{Error, notify, read};

impl Agent {
    /// Reads the file again; after an error everything is as it was.
    pub(super) async fn reload(&mut self) -> Result<model::Reloaded, Error> {
        let microseconds = monotonic_nanoseconds() / 1000;
        notify::notify(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
        let reloaded = self.try_reload().await;
        notify::notify("READY=1");
        match &reloaded {
            Ok(model::Reloaded { services, changes, .. }) => {
                self.reloads.succeeded += 1;
                info!(services, changes, "reloaded");
            }
            Err(reason) => {
                self.reloads.failed += 1;
                error!("nothing is changed, since the reload failed: {reason}");
            }
        }
        reloaded
    }

    async fn try_reload(&mut self) -> Result<model::Reloaded, Error> {
        let config = read(&self.options.config)?;
        let before = self.installed.config.clone();
        if config.cluster != before.cluster {
            let remedy =
                "`lvsctl stop --keep-forwarding` and a start of lvsd bring it into force, without a failover";
            return Err(Error::Cluster(format!("it has changed, and a reload cannot change it: {remedy}")));
        }
        // In force only with everything else.
        let keys = self.cluster.as_ref().map(Cluster::read_keys).transpose()?;
        if config.limits != before.limits {
            warn!("limits take effect when the maps are made: `lvsctl stop`, and start lvsd");
        }
        let changed = self.next_hops.prepare(&config).await;
        let changed: Vec<_> = self.next_hops.events_of(&changed).collect();
        for event in changed {
            self.handle(event);
        }
        let pool = self.health.planned(config);
        self.apologies.begin(&pool.pages());
        let installed = self.exchange(pool.desired(), &before);
        if installed.is_ok() {
            self.health.adopt(pool);
        }
        let pages = self.health.pages();
        self.apologies.end(&pages);
        self.apologies.read_again(&pages);
        self.next_hops.settle(self.health.config());
        let changes = installed?;
        if let (Some(cluster), Some(keys)) = (&self.cluster, keys) {
            cluster.use_keys(keys);
        }
        self.plan_changed();
        self.take_advice();
        if let Err(reason) = self.vrrp.configure(&self.health.config().vrrp).await {
            error!(%reason, "the virtual routers are not all as the configuration has them");
        }
        self.exporter.follow(self.health.config().metrics);
        Ok(model::Reloaded {
            services: self.installed.config.services.len(),
            changes,
            warnings: self.warnings(),
        })
    }

    /// The interfaces of both configurations see packets while the services change, so that neither misses
    /// one.
    fn exchange(&mut self, config: Config, before: &Config) -> Result<usize, Error> {
        let allow_generic = self.options.allow_generic;
        let wanted = config.interfaces.clone();
        let mut both = before.interfaces.clone();
        both.extend(wanted.iter().filter(|name| !before.interfaces.contains(name)).cloned());
        let wants_egress = [before, &config].map(wants_egress);
        self.installed.dataplane.want_egress(wants_egress.contains(&true));
        let exchanged = match self.installed.dataplane.attach(&both, allow_generic) {
            Ok(_) => self.installed.install(config, &self.next_hops),
            Err(error) => Err(error.into()),
        };
        let interfaces = if exchanged.is_ok() { &wanted } else { &before.interfaces };
        let [wanted_egress, wants_egress] = wants_egress;
        self.installed.dataplane.want_egress(if exchanged.is_ok() { wants_egress } else { wanted_egress });
        let attached = self.installed.dataplane.attach(interfaces, allow_generic);
        if let Err(reason) = attached {
            error!(%reason, "not every interface has its program");
        }
        exchanged
    }
}
