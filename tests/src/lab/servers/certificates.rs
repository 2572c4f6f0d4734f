//! An authority, and certificates by it, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::command::run;

/// PEM files. The server is called `www.lab` and `127.0.0.1`, for ten days; the client `lvsd`.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub ca: PathBuf,
    pub server: PathBuf,
    pub server_key: PathBuf,
    pub client: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    pub fn make(lab: &Path) -> Result<Self> {
        let directory = super::directory(lab, "certificates")?;
        let path = |name: &str| directory.join(name);
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let mut ca = Command::new("openssl");
        ca.args(["req", "-x509", "-days", "30", "-subj", "/CN=lab authority"]).args(key);
        run(ca.arg("-keyout").arg(path("ca.key")).arg("-out").arg(path("ca.pem")))?;
        for (name, extensions) in [
            ("server", "subjectAltName=DNS:www.lab,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
            ("lvsd", "extendedKeyUsage=clientAuth\n"),
        ] {
            let mut request = Command::new("openssl");
            request.args(["req", "-subj", &format!("/CN={name}")]).args(key);
            request
                .arg("-keyout")
                .arg(path(&format!("{name}.key")))
                .arg("-out")
                .arg(path(&format!("{name}.csr")));
            run(&mut request)?;
            fs::write(path(&format!("{name}.extensions")), extensions)?;
            sign(&directory, name, 10)?;
        }
        Ok(Self {
            ca: path("ca.pem"),
            server: path("server.pem"),
            server_key: path("server.key"),
            client: path("lvsd.pem"),
            client_key: path("lvsd.key"),
        })
    }

    /// Another certificate for the server, with the same key.
    pub fn renew(&self, days: u32) -> Result<()> {
        sign(self.ca.parent().context("no directory")?, "server", days)
    }
}

fn sign(directory: &Path, name: &str, days: u32) -> Result<()> {
    let path = |name: &str| directory.join(name);
    let mut sign = Command::new("openssl");
    sign.args(["x509", "-req", "-days", &days.to_string(), "-CAcreateserial"]);
    sign.arg("-in").arg(path(&format!("{name}.csr"))).arg("-CA").arg(path("ca.pem"));
    sign.arg("-CAkey").arg(path("ca.key")).arg("-extfile").arg(path(&format!("{name}.extensions")));
    run(sign.arg("-out").arg(path(&format!("{name}.pem"))))?;
    Ok(())
}
