//! What an earlier life, or another configuration, has left.

use super::*;

#[test]
fn what_an_earlier_life_has_left_is_swept_away() {
    let world = World::new();
    world.director.enter(async || {
        let [mail, news] = [("mail", "10.7.0.101"), ("news", "10.7.0.102")]
            .map(|(name, own)| group(name, &[address(own, 32)]));
        let (takeover, _notices) = world.open(&[web(), mail.clone(), news.clone()], once()).await;
        for group in [web(), mail.clone(), news] {
            takeover.serve(id(&group.name)).await.unwrap();
        }
        // As by kill -9; and the next file has one group less.
        drop(takeover);
        let (takeover, _notices) = world.open(&[web(), mail], once()).await;
        let removed = takeover.sweep(&BTreeSet::from([id("mail")])).await.unwrap();
        assert_eq!(BTreeSet::from_iter(removed), BTreeSet::from([ip(V4), ip(V6), ip("10.7.0.102")]));
        let addresses = world.addresses();
        for gone in [V4, V6, "10.7.0.102"] {
            assert!(!addresses.contains(gone), "{addresses}");
        }
        assert!(addresses.contains("10.7.0.101/32") && addresses.contains("10.7.0.1/24"), "{addresses}");
        takeover.serve(id("web")).await.unwrap();
        assert!(takeover.sweep(&BTreeSet::new()).await.unwrap() == [ip("10.7.0.101")], "web is held");
    });
}

/// An interface's own address, say, which somebody wrote into the file.
#[test]
fn what_others_have_put_up_stays() {
    let world = World::new();
    world.director.ip(&format!("address add {V4}/25 dev eth0"));
    world.director.enter(async || {
        let (takeover, _notices) = world.open(&[web()], once()).await;
        assert!(takeover.sweep(&BTreeSet::new()).await.unwrap().is_empty());
        takeover.serve(id("web")).await.unwrap();
        let addresses = world.addresses();
        assert!(addresses.contains("10.7.0.100/25") && addresses.contains(V6), "{addresses}");
        assert!(takeover.withdraw(id("web")).await.is_empty());
        let addresses = world.addresses();
        assert!(addresses.contains("10.7.0.100/25") && !addresses.contains(V6), "{addresses}");
    });
}

/// An agent whose file has no groups any more.
#[test]
fn what_is_left_goes_without_any_group_too() {
    let world = World::new();
    world.director.enter(async || {
        let clear = async || {
            let (network, _events) = Network::connect().unwrap();
            Takeover::clear(network, world.run.path()).await.unwrap();
        };
        clear().await;
        let (takeover, _notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        // As by kill -9.
        drop(takeover);
        clear().await;
        let addresses = world.addresses();
        assert!(!addresses.contains(V4) && !addresses.contains(V6), "{addresses}");
        assert!(!world.run.path().exists(), "its file and its directory are gone");
    });
}

/// Without promote_secondaries the kernel would take the second one away with the first.
#[test]
fn a_group_that_goes_leaves_the_others() {
    let world = World::new();
    world.director.ip("address flush dev eth0");
    world.director.enter(async || {
        let groups = [group("one", &[address("10.7.0.101", 24)]), group("two", &[address("10.7.0.102", 24)])];
        let (takeover, _notices) = world.open(&groups, once()).await;
        takeover.serve(id("one")).await.unwrap();
        takeover.serve(id("two")).await.unwrap();
        assert!(world.addresses().contains("10.7.0.102/24 brd 10.7.0.255 scope global secondary"));
        assert!(takeover.withdraw(id("one")).await.is_empty());
        let addresses = world.addresses();
        assert!(!addresses.contains("10.7.0.101") && addresses.contains("10.7.0.102/24"), "{addresses}");
    });
}

#[test]
fn settings_are_put_back_even_by_the_next_life() {
    let world = World::new();
    let settings = || {
        let names = ["arp_ignore", "arp_announce", "promote_secondaries", "arp_notify"];
        let all = names.map(|name| format!("net.ipv4.conf.all.{name} net.ipv4.conf.eth0.{name}"));
        world.director.run(&format!("sysctl {}", all.join(" ")))
    };
    world.director.run("sysctl -qw net.ipv4.conf.eth0.arp_ignore=2 net.ipv4.conf.eth0.promote_secondaries=0");
    let before = settings();
    world.director.enter(async || {
        let (takeover, _notices) = world.open(&[web()], once()).await;
        let changed = settings();
        for line in
            ["all.arp_ignore = 1", "eth0.arp_ignore = 2", "eth0.arp_announce = 2", "eth0.arp_notify = 0"]
        {
            assert!(changed.contains(line), "{line}: {changed}");
        }
        assert!(changed.contains("eth0.promote_secondaries = 1"), "{changed}");
        // As by kill -9.
        drop(takeover);
        assert_eq!(settings(), changed);
        let (takeover, _notices) = world.open(&[web()], once()).await;
        takeover.close();
        assert_eq!(settings(), before);
        assert!(!world.run.path().exists(), "its file and its directory are gone");
    });
}

#[test]
fn another_configuration_changes_what_is_held() {
    let world = World::new();
    world.director.enter(async || {
        let mail = group("mail", &[address("10.7.0.101", 32)]);
        let (takeover, mut notices) = world.open(&[web(), mail.clone()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        let other = group("web", &[address(V4, 24), address("10.7.0.102", 32)]);
        takeover.configure(vec![other, mail]).await.unwrap();
        let addresses = world.addresses();
        assert!(addresses.contains(V4) && addresses.contains("10.7.0.102/32"), "{addresses}");
        assert!(!addresses.contains(V6) && !addresses.contains("10.7.0.101"), "{addresses}");
        let capture = expect_all(capture, Seen::round(&[V4, "10.7.0.102"], world.director.mac("eth0"))).await;
        drop(capture);
        let (other, mail) = (group("web", &[address(V4, 32)]), group("mail", &[address("10.7.0.101", 32)]));
        takeover.configure(vec![other, mail]).await.unwrap();
        let addresses = world.addresses();
        assert!(addresses.contains("10.7.0.100/32") && !addresses.contains("10.7.0.100/24"), "{addresses}");
        assert!(notices.try_recv().is_err(), "nothing is wrong");
        takeover.configure(Vec::new()).await.unwrap();
        assert!(!world.addresses().contains(V4), "{}", world.addresses());
    });
}
