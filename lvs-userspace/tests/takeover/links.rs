//! Interfaces that go and come back.

use super::*;

#[test]
fn a_link_that_comes_back_and_another_mac_are_announced() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        // The kernel removes the IPv6 addresses of an interface that is switched off.
        world.director.ip("link set eth0 down");
        world.director.ip("link set eth0 up");
        let restored = Notice::Restored { group: "web".to_owned(), address: ip(V6) };
        assert_eq!(timeout(DEADLINE, notices.recv()).await.unwrap(), Some(restored));
        let expected = Seen::round(&[V4, V6], world.director.mac("eth0"));
        let capture = expect_all(capture, expected).await;

        world.director.ip("link set eth0 address 02:00:00:00:00:99");
        let expected = Seen::round(&[V4, V6], [2, 0, 0, 0, 0, 0x99]);
        let capture = Capture { from: [2, 0, 0, 0, 0, 0x99], ..capture };
        expect_all(capture, expected).await;
        assert!(world.addresses().contains(V4) && world.addresses().contains(V6));

        // Somebody takes one away.
        world.director.ip(&format!("address del {V4}/24 dev eth0"));
        until("it was not put back", || world.addresses().contains(V4)).await;
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert!(!world.addresses().contains(V4) && !world.addresses().contains(V6));
    });
}

/// An interface that is made anew has another index and other settings.
#[test]
fn an_interface_may_be_made_anew() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        world.director.ip("link del eth0");
        until("it is still known", || takeover_fails(&takeover)).await;
        connect(&world.other, &world.director);
        until("it was not put back", || world.addresses().contains(V4) && world.addresses().contains(V6))
            .await;
        let restored = timeout(DEADLINE, notices.recv()).await.unwrap();
        assert!(matches!(restored, Some(Notice::Restored { .. })), "{restored:?}");
        let setting = || world.director.run("sysctl -n net.ipv4.conf.eth0.arp_announce");
        until("no settings", || setting().trim() == "2").await;
        world.other.ip(&format!("address add {V4} dev eth0"));
        let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
        assert!(
            matches!(answer, Answer::Answered(claim) if claim.by == world.other.mac("eth0")),
            "{answer:?}"
        );
    });
}

/// What the kernel refuses to one group must not cost the others their addresses, and is not told of as done.
#[test]
fn a_group_that_cannot_be_put_back_does_not_keep_others_away() {
    let world = World::new();
    world.director.enter(async || {
        // They are looked at in the order of their numbers.
        let mut names = ["one", "two"];
        names.sort_by_key(|name| id(name));
        let [refused, other] = names;
        let groups = [group(refused, &[address(V6, 128)]), group(other, &[address(V4, 32)])];
        let (takeover, mut notices) = world.open(&groups, once()).await;
        takeover.serve(id(refused)).await.unwrap();
        takeover.serve(id(other)).await.unwrap();
        let restored = |group: &str, address| Some(Notice::Restored { group: group.to_owned(), address });
        world.director.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
        world.director.ip(&format!("address del {V4}/32 dev eth0"));
        assert_eq!(timeout(DEADLINE, notices.recv()).await.unwrap(), restored(other, ip(V4)));
        let addresses = world.addresses();
        assert!(addresses.contains(V4) && !addresses.contains(V6), "{addresses}");
        world.director.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0");
        assert_eq!(timeout(DEADLINE, notices.recv()).await.unwrap(), restored(refused, ip(V6)));
        assert!(world.addresses().contains(V6));
    });
}

fn takeover_fails(takeover: &Takeover) -> bool {
    let probe = takeover.probe(id("web"), Probing::default());
    matches!(probe.now_or_never(), Some(Err(_)))
}
