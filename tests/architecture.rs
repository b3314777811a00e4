//! The import rule of `docs/architecture.md`, enforced; and what must never be among the dependencies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table of the document: module → modules it may import.
fn rule() -> BTreeMap<String, BTreeSet<String>> {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[2].split_whitespace().map(str::to_owned).collect())
    })
    .collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The modules named after `crate::` in `source`, those in braces included.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in source.match_indices("crate::") {
        if source[..start].ends_with('$') {
            continue;
        }
        let rest = &source[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut word));
                    }
                    c if depth == 0 && !c.is_whitespace() => word.push(c),
                    _ => {}
                }
            }
            found.insert(word);
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    let first = |path: String| path.split("::").next().unwrap_or_default().to_owned();
    found.into_iter().map(first).filter(|name| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let (rule, folder) = (rule(), root().join("core/src"));
    let mut files = Vec::new();
    sources(&folder, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inner = file.strip_prefix(&folder).unwrap();
        let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if ["lib", "bin"].contains(&module) {
            continue;
        }
        let Some(allowed) = rule.get(module) else {
            wrong.push(format!("{module} has no row in docs/architecture.md"));
            continue;
        };
        let source = fs::read_to_string(&file).unwrap();
        // Tests may use everything.
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if inner.ends_with("tests.rs") || inner.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let foreign = imports(code).into_iter().filter(|name| name != module && !allowed.contains(name));
        wrong.extend(foreign.map(|name| format!("{} imports {name}", inner.display())));
    }
    assert!(wrong.is_empty(), "the import rule is broken:\n{}", wrong.join("\n"));
    assert!(rule.len() >= 15, "the table was not found");
}

#[test]
fn imports_are_seen_in_every_form() {
    let source = "use crate::{a::{B, C}, d, E};\nuse crate::f::g;\nlet x = crate::h::i();";
    let names: Vec<_> = imports(source).into_iter().collect();
    assert_eq!(names, ["a", "d", "f", "h"]);
}

fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--format", "{p}", "-e", "normal", "-p", "triune"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_default_build_has_no_host_no_server_and_no_network() {
    let tree = tree(&[]);
    for never in ["pyo3 ", "napi ", "axum ", "hyper ", "reqwest ", "openssl-sys ", "clap "] {
        assert!(!tree.lines().any(|line| line.starts_with(never)), "{never}is in the default build");
    }
    assert!(tree.lines().any(|line| line.starts_with("candle-core ")), "local models are in the default build");
}

#[test]
fn no_feature_brings_a_host_in() {
    let tree = tree(&["--all-features"]);
    for never in ["pyo3 ", "napi ", "openssl-sys "] {
        assert!(!tree.lines().any(|line| line.starts_with(never)), "{never}is in the tree");
    }
}
