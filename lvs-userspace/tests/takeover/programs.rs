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

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
