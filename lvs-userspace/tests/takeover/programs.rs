//! Programs of a group.

use super::*;

#[test]
fn programs_run_once_the_addresses_are_there() {
    let world = World::new();
    let log = world.run.path().join("log");
    let script = |name: &str, end: &str| Resource {
        command: ["sh", "-c"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!(
                "echo {name} $0 $(ip -o address show | grep -c {V4}/) >> {}; {end}",
                log.display()
            )])
            .collect(),
        timeout: DEADLINE,
    };
    world.director.enter(async || {
        let mut group = web();
        group.resources = vec![script("one", "true"), script("two", "true")];
        let (takeover, _notices) = world.open(&[group.clone()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert_eq!(read(&log), "one start 1\ntwo start 1\ntwo stop 1\none stop 1\n");

        std::fs::remove_file(&log).unwrap();
        group.resources[0] = script("one", "exit 1");
        takeover.configure(vec![group]).await.unwrap();
        let failure = takeover.serve(id("web")).await.unwrap_err();
        assert!(failure.to_string().contains("start` failed: exit status: 1"), "{failure}");
        assert_eq!(read(&log), "one start 1\n");
        assert_eq!(takeover.withdraw(id("web")).await.len(), 1, "its stop fails as well");
        assert_eq!(read(&log), "one start 1\ntwo stop 1\none stop 1\n");
        assert!(!world.addresses().contains(V4));
    });
}

/// The program takes its time to stop, and the group is held again meanwhile.
#[test]
fn a_group_that_comes_back_does_not_wait_for_what_is_being_stopped() {
    let world = World::new();
    let [began, may_end] = ["began", "may-end"].map(|name| world.run.path().join(name));
    let mac = world.director.mac("eth0");
    let slow = format!(
        "test $0 = start || {{ touch {}; until test -e {}; do sleep 0.01; done; }}",
        began.display(),
        may_end.display()
    );
    world.director.enter(async || {
        let mut group = web();
        group.resources =
            vec![Resource { command: ["sh", "-c", &slow].map(str::to_owned).to_vec(), timeout: DEADLINE }];
        let (takeover, _notices) = world.open(&[group], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let back = async {
            until("it is not stopped", || began.exists()).await;
            let capture = world.capture();
            takeover.appear(id("web")).await.unwrap();
            expect_all(capture, Seen::round(&[V4, V6], mac)).await;
            std::fs::write(&may_end, "").unwrap();
        };
        let (failures, _) = tokio::join!(takeover.withdraw(id("web")), back);
        assert!(failures.is_empty());
        assert!(world.addresses().contains(V4), "it is held");
    });
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
