//! What is written about the format is true: the schema, and the examples in docs/configuration.md.

use std::env;
use std::fs;

use serde_json::Value as Json;

use super::*;

const SCHEMA: &str = "docs/configuration.schema.json";
const MANUAL: &str = "docs/configuration.md";
/// What has a page of its own.
const PAGES: [&str; 5] =
    [MANUAL, "docs/health.md", "docs/alerts.md", "docs/high-availability.md", "docs/vrrp.md"];

/// Writes the schema instead of comparing it.
const UPDATE: &str = "LVS_UPDATE_SCHEMA";

#[test]
fn the_schema_is_current() {
    let path = repository(SCHEMA);
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, format!("{:#}\n", schema())).unwrap();
    }
    // Compared as values: the order of keys depends on features that other crates ask of serde_json.
    let committed = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Json>(&text).ok());
    assert!(
        committed == Some(schema()),
        "{SCHEMA} is not what the code generates; write it anew with\n  \
         {UPDATE}=1 cargo test -p lvs-userspace --lib the_schema_is_current"
    );
}

/// A fenced block of the manual.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

fn blocks(manual: &str) -> Vec<Block<'_>> {
    let fenced = manual.split("```").skip(1).step_by(2);
    fenced
        .map(|block| {
            let (language, text) = block.split_once('\n').unwrap();
            Block { language, text: text.trim_end() }
        })
        .collect()
}

/// A block of YAML is a whole file. With a block of text below it, that is what lvsd says about it.
#[test]
fn the_manual_shows_what_lvsd_says() {
    for page in PAGES {
        shows_what_lvsd_says(page);
    }
}

fn shows_what_lvsd_says(page: &str) {
    let manual = fs::read_to_string(repository(page)).unwrap();
    let blocks = blocks(&manual);
    let mut shown = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "yaml") {
        let said = blocks.get(index + 1).filter(|next| next.language == "text");
        match (parse(block.text, "lvs.yaml"), said) {
            (Ok(_), None) => {}
            (Err(diagnostics), Some(said)) => assert_eq!(diagnostics.to_string(), said.text),
            (Ok(_), Some(said)) => panic!("{page}: nothing is wrong where this is shown:\n{}", said.text),
            (Err(diagnostics), None) => panic!("{page}: a wrong file is shown:\n{diagnostics}"),
        }
        shown += 1;
    }
    assert!(shown > 0, "{page} shows no file");
}

/// Every key has a row that names its default, its range and its words.
#[test]
fn the_manual_explains_every_key() {
    let manual = PAGES.map(|page| fs::read_to_string(repository(page)).unwrap()).concat();
    let mut pending = vec![schema()];
    while let Some(part) = pending.pop() {
        pending.extend(part["oneOf"].as_array().into_iter().flatten().cloned());
        for (key, property) in part["properties"].as_object().into_iter().flatten() {
            let facts = facts(property);
            let head = format!("| `{key}` |");
            let explained = manual
                .lines()
                .any(|line| line.starts_with(&head) && facts.iter().all(|fact| line.contains(fact.as_str())));
            assert!(explained, "{PAGES:?} have no row that begins with {head} and names {facts:?}");
            pending.push(if property["items"].is_object() { &property["items"] } else { property }.clone());
        }
    }
}

/// Default, range and words of a key, as the manual writes them.
fn facts(property: &Json) -> Vec<String> {
    let words = property["enum"].as_array().into_iter().flatten();
    ["default", "minimum", "maximum"]
        .iter()
        .map(|fact| &property[*fact])
        .chain(words)
        .filter_map(|fact| match fact {
            Json::Number(number) => Some(number.to_string()),
            Json::String(word) => Some(format!("`{word}`")),
            _ => None,
        })
        .collect()
}
