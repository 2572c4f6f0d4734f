//! How the program comes to interfaces, and leaves them.

use std::thread;

use lvs_userspace::dataplane::{AttachError, AttachMode, Dataplane, OpenError, OpenOptions};

use crate::lab::{Lab, SMALL, ip, link_and_program, output};

#[test]
fn interfaces_come_and_go() {
    Lab::run("interfaces", |lab| {
        let mut dataplane = lab.open();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(dataplane.attach(&names(&["lvs0", "peer0"]), false).unwrap().len(), 2);
        let error = dataplane.attach(&names(&["lvs0", "eth77"]), false).unwrap_err();
        assert_eq!(error.to_string(), "interface eth77 does not exist");
        dataplane.attach(&names(&["peer0"]), false).unwrap();
        assert!(!output("ip", &["link", "show", "lvs0"]).contains("xdp"));
        assert!(output("ip", &["link", "show", "peer0"]).contains("xdp"));

        // The interface dies and another one of the same name is born: the old link is only a pin.
        let old = dataplane.attachments()[0].index;
        ip("link del lvs0");
        ip("link add lvs0 type veth peer name peer0");
        let attachments = dataplane.attach(&names(&["peer0"]), false).unwrap();
        assert_ne!(attachments[0].index, old);
        assert!(!lab.directory().join(format!("link_{old}")).exists());

        let stranger = OpenOptions { instance: &format!("{}-b", lab.instance), ..lab.options() };
        let second = Lab { instance: stranger.instance.to_owned(), object: &[] };
        let stranger = OpenOptions { interfaces: names(&["peer0"]), ..stranger };
        let error = Dataplane::open(&stranger).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::Occupied { .. })), "{error}");
        drop(second);
    });
}

#[test]
fn a_link_of_another_namespace_is_left_alone() {
    Lab::run("foreign", |lab| {
        let _dataplane = lab.open();
        let (instance, object) = (lab.instance.clone(), lab.object);
        let other = thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            // The same index as in the first namespace.
            ip("link add lvs0 type veth peer name peer0");
            let interfaces = vec!["lvs0".to_owned()];
            let options =
                OpenOptions { instance: &instance, object, limits: SMALL, interfaces, allow_generic: false };
            Dataplane::open(&options).map(drop).unwrap_err()
        });
        let error = other.join().unwrap();
        assert!(matches!(error, OpenError::Attach(AttachError::Foreign { .. })), "{error}");
        link_and_program();
    });
}

#[test]
fn generic_mode_only_when_allowed() {
    Lab::run("generic", |lab| {
        let lo = OpenOptions { interfaces: vec!["lo".to_owned()], ..lab.options() };
        let error = Dataplane::open(&lo).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::NotNative { .. })), "{error}");
        let allowed = OpenOptions { allow_generic: true, ..lo };
        let dataplane = Dataplane::open(&allowed).unwrap();
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Generic);
        drop(dataplane);
        let dataplane = Dataplane::open(&allowed).unwrap();
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Generic, "known after adoption too");

        ip("link set lvs0 mtu 9000");
        ip("link set peer0 mtu 9000");
        let error = Dataplane::open(&lab.options()).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::Mtu { mtu: 9000, .. })), "{error}");
    });
}
