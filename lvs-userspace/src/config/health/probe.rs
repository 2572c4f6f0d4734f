//! What a check asks: from its keys to its definition.

use super::raw::{Check, HttpKeys, TlsKeys};
use super::scalar::Line;
use super::validate::own;
use crate::config::alerts::scalar::Path;
use crate::config::model::{
    DnsProbe, ExchangeProbe, ExternalProbe, GrpcProbe, HttpProbe, LdapProbe, Login, Probe, RadiusProbe,
    Secure, SipProbe, SqlProbe, TextProbe, TextProtocol, TlsMode, UdpProbe,
};
use crate::config::record::{Field, Located, Reader};
use crate::tls::Trust;

/// `None` when some key is wrong, which `reader` knows.
pub(super) fn probe(check: &Check, reader: &mut Reader) -> Option<Probe> {
    Some(match check {
        Check::Icmp(_) => Probe::Icmp,
        Check::Tcp(_) => Probe::Tcp,
        Check::Udp(check) => Probe::Udp(UdpProbe {
            send: check.send.value()?.0.clone(),
            expect: text(&check.expect, |pattern| &pattern.0)?,
        }),
        Check::Http(check) => http(&check.http(), None)?,
        Check::Https(check) => {
            let secure = secure(&check.tls(), reader)?;
            http(&check.http(), Some(secure))?
        }
        Check::Dns(check) => Probe::Dns(DnsProbe {
            name: check.name.value()?.0.clone(),
            record: check.record.value()?.0.clone(),
            answer: text(&check.answer, |line| &line.0)?,
            transport: *check.transport.value()?,
        }),
        Check::Smtp(check) => {
            let lines = lines(TextProtocol::Smtp, &check.tls(), &check.user, &check.password_file, reader)?;
            Probe::Text(Box::new(lines))
        }
        Check::Ftp(check) => {
            let (body, body_regex) =
                (text(&check.body, |body| &body.0), text(&check.body_regex, |regex| &regex.0));
            let place = check.body.located().map(|body| body.place);
            let place = place.or(check.body_regex.located().map(|regex| regex.place));
            let file = text(&check.file, |line| &line.0)?;
            if let (None, Some(place)) = (&file, place) {
                reader.mistake(place, "missing key `file`", "expected the file whose content is looked at");
                return None;
            }
            let lines = lines(TextProtocol::Ftp, &check.tls(), &check.user, &check.password_file, reader)?;
            Probe::Text(Box::new(TextProbe { file, body: body?, body_regex: body_regex?, ..lines }))
        }
        Check::Imap(check) => {
            let lines = lines(TextProtocol::Imap, &check.tls(), &check.user, &check.password_file, reader)?;
            Probe::Text(Box::new(lines))
        }
        Check::Pop(check) => {
            let lines = lines(TextProtocol::Pop, &check.tls(), &check.user, &check.password_file, reader)?;
            Probe::Text(Box::new(lines))
        }
        Check::Nntp(check) => {
            let lines = lines(TextProtocol::Nntp, &check.tls(), &check.user, &check.password_file, reader)?;
            Probe::Text(Box::new(lines))
        }
        Check::Exchange(check) => Probe::Exchange(Box::new(ExchangeProbe {
            banner: text(&check.banner, |pattern| &pattern.0)?,
            send: text(&check.send, |text| &text.0)?,
            expect: text(&check.expect, |pattern| &pattern.0)?,
            secure: without_starttls(&check.tls(), reader)?,
        })),
        Check::Redis(check) => Probe::Redis(login(&check.user, &check.password_file, reader)?),
        Check::Mysql(check) => Probe::Mysql(SqlProbe {
            user: check.user.value()?.0.clone(),
            database: text(&check.database, |line| &line.0)?,
        }),
        Check::Pgsql(check) => Probe::Pgsql(SqlProbe {
            user: check.user.value()?.0.clone(),
            database: text(&check.database, |line| &line.0)?,
        }),
        Check::Ldap(check) => Probe::Ldap(Box::new(LdapProbe {
            login: login(&check.user, &check.password_file, reader)?,
            secure: without_starttls(&check.tls(), reader)?,
        })),
        Check::Radius(check) => Probe::Radius(RadiusProbe {
            secret_file: check.secret_file.value()?.0.clone(),
            login: login(&check.user, &check.password_file, reader)?,
        }),
        Check::Sip(check) => Probe::Sip(SipProbe {
            transport: *check.transport.value()?,
            status: check.status.value()?.iter().map(|(_, range)| (range.value.0, range.value.1)).collect(),
        }),
        Check::Grpc(check) => Probe::Grpc(Box::new(GrpcProbe {
            service: check.service.value()?.0.clone(),
            secure: without_starttls(&check.tls(), reader)?,
        })),
        Check::External(check) => {
            let command: Vec<_> =
                check.command.value()?.iter().map(|(_, word)| word.value.0.clone()).collect();
            if command.is_empty() {
                return None;
            }
            Probe::External(ExternalProbe { convention: *check.convention.value()?, command })
        }
    })
}

fn http(keys: &HttpKeys<'_>, secure: Option<Secure>) -> Option<Probe> {
    Some(Probe::Http(Box::new(HttpProbe {
        method: keys.method.value()?.0.clone(),
        path: keys.path.value()?.0.clone(),
        host: text(keys.host, |host| &host.0)?,
        headers: keys
            .headers
            .value()?
            .iter()
            .map(|(_, header)| (header.value.name.clone(), header.value.value.clone()))
            .collect(),
        status: keys.status.value()?.iter().map(|(_, range)| (range.value.0, range.value.1)).collect(),
        body: text(keys.body, |body| &body.0)?,
        body_regex: text(keys.body_regex, |pattern| &pattern.0)?,
        body_sha256: own(keys.body_sha256, |digest| digest.0)?.map(|digest| digest.value),
        http2: keys.http2.value()?.0,
        secure,
    })))
}

fn lines(
    protocol: TextProtocol,
    tls: &TlsKeys<'_>,
    user: &Field<Line>,
    password_file: &Field<Path>,
    reader: &mut Reader,
) -> Option<TextProbe> {
    let secure = secure(tls, reader)?;
    let login = login(user, password_file, reader)?;
    Some(TextProbe { protocol, secure, login, file: None, body: None, body_regex: None })
}

fn secure(keys: &TlsKeys<'_>, reader: &mut Reader) -> Option<Secure> {
    let mode = match keys.tls {
        Some(field) => *field.value()?,
        None => TlsMode::Tls,
    };
    let certificate = pair("certificate", keys.certificate, "key", keys.key, reader)?;
    let path = |path: &Path| path.0.clone();
    Some(Secure {
        mode,
        server_name: text(keys.server_name, |name| &name.0)?,
        trust: Trust {
            ca: own(keys.ca, path)?.map(|ca| ca.value),
            insecure: !keys.verify.value()?.0,
            certificate: certificate.map(|(certificate, key)| (path(certificate), path(key))),
        },
        expiry_warning: keys.expiry_warning.value()?.0,
    })
}

/// Of protocols that have no word to begin TLS with, or none that is known here.
fn without_starttls(keys: &TlsKeys<'_>, reader: &mut Reader) -> Option<Secure> {
    let secure = secure(keys, reader)?;
    if secure.mode == TlsMode::Starttls
        && let Some(Located { place, .. }) = keys.tls.and_then(Field::located)
    {
        let what = "this type of check cannot begin TLS on a connection that is not encrypted";
        reader.in_key("tls", |reader| reader.mistake(*place, what, "expected `none` or `tls`"));
        return None;
    }
    Some(secure)
}

fn login(user: &Field<Line>, password_file: &Field<Path>, reader: &mut Reader) -> Option<Option<Login>> {
    let pair = pair("user", user, "password_file", password_file, reader)?;
    Some(pair.map(|(user, file)| Login { user: user.0.clone(), password_file: file.0.clone() }))
}

/// Two keys of which neither means anything without the other.
fn pair<'a, A, B>(
    name: &str,
    first: &'a Field<A>,
    other_name: &str,
    second: &'a Field<B>,
    reader: &mut Reader,
) -> Option<Option<(&'a A, &'a B)>> {
    let (missing, place) = match (first, second) {
        (Field::Bad, _) | (_, Field::Bad) => return None,
        (Field::Absent, Field::Absent) => return Some(None),
        (Field::Given(first), Field::Given(second)) => return Some(Some((&first.value, &second.value))),
        (Field::Given(first), Field::Absent) => (other_name, first.place),
        (Field::Absent, Field::Given(second)) => (name, second.place),
    };
    let what = format!("missing key `{missing}`");
    reader.mistake(place, what, format!("expected `{name}` and `{other_name}` together"));
    None
}

/// The text of an optional key; the outer `None` when it says something wrong.
fn text<T>(field: &Field<T>, of: impl Fn(&T) -> &String) -> Option<Option<String>> {
    Some(own(field, |value| of(value).clone())?.map(|text| text.value))
}
