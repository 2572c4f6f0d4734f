//! `lvsctl connections`

use super::table::{socket, table};
use crate::api::model::{Connections, Endpoint};

pub(super) fn render(answer: &Connections, limit: u64) -> String {
    let connections = &answer.connections;
    if connections.is_empty() {
        return "no connections".to_owned();
    }
    let header = ["PROTO", "CLIENT", "VIRTUAL", "REAL SERVER", "STATE", "CLASS", "EXPIRES"];
    let mut table = table(&header, 6);
    let place = |endpoint: &Endpoint| socket(endpoint.address, endpoint.port);
    for connection in connections {
        let destination = connection.destination.as_ref();
        table.add_row([
            connection.protocol.clone(),
            place(&connection.client),
            place(&connection.dialled),
            destination.map_or_else(|| "removed".to_owned(), place),
            connection.state.clone(),
            connection.class.clone(),
            format!("{}:{:02}", connection.expires / 60, connection.expires % 60),
        ]);
    }
    let mut text = table.trim_fmt();
    if connections.len() as u64 >= limit {
        text.push_str(&format!("\nthere may be more than these {limit}: see --limit"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::Connection;

    #[test]
    fn a_connection_is_one_line() {
        let endpoint = |address: [u8; 4], port| Endpoint { address: address.into(), port };
        let connection = Connection {
            protocol: "tcp".to_owned(),
            client: endpoint([10, 1, 0, 7], 40_000),
            dialled: endpoint([10, 0, 0, 3], 80),
            destination: None,
            state: "ESTABLISHED".to_owned(),
            expires: 839,
            class: "established".to_owned(),
        };
        let answer = Connections { connections: vec![connection] };
        let expected = "\
PROTO  CLIENT          VIRTUAL      REAL SERVER  STATE        CLASS        EXPIRES
tcp    10.1.0.7:40000  10.0.0.3:80  removed      ESTABLISHED  established    13:59";
        assert_eq!(render(&answer, 1000), expected);
        assert!(render(&answer, 1).ends_with("see --limit"));
        assert_eq!(render(&Connections::default(), 1), "no connections");
    }
}
