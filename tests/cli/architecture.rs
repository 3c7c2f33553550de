//! The rules of `docs/architecture.md`, checked against the manifests and the sources.
//!
//! The tables of that page are read, not repeated: what the code map says about arrows is compared with what cargo says.

use crate::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages that a build for this machine resolves to.
struct Workspace {
    packages: BTreeMap<String, Package>,
    members: BTreeSet<String>,
}

struct Package {
    name: String,
    /// Folder relative to the root; of members only.
    folder: String,
    /// Names of dependencies that its manifest lists: all, and those of tests and benches only.
    direct: BTreeSet<String>,
    dev: BTreeSet<String>,
    /// Ids of packages that are linked into its library or binary.
    links: Vec<String>,
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_string()
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

impl Workspace {
    fn read() -> Workspace {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let args = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform];
        let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let data: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
        let members: BTreeSet<String> = list(&data["workspace_members"]).iter().map(text).collect();
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        for p in list(&data["packages"]) {
            let names = |dev: bool| {
                let of = list(&p["dependencies"]).iter().filter(|d| (d["kind"] == "dev") == dev);
                of.map(|d| text(&d["name"])).collect()
            };
            let manifest = PathBuf::from(text(&p["manifest_path"]));
            let folder = manifest.parent().and_then(|f| f.strip_prefix(root()).ok());
            let folder = folder.map(|f| f.display().to_string()).unwrap_or_default();
            let package =
                Package { name: text(&p["name"]), folder, direct: names(false), dev: names(true), links: vec![] };
            packages.insert(text(&p["id"]), package);
        }
        for node in list(&data["resolve"]["nodes"]) {
            let linked = |d: &&Value| list(&d["dep_kinds"]).iter().any(|k| k["kind"].is_null());
            let links = list(&node["deps"]).iter().filter(linked).map(|d| text(&d["pkg"])).collect();
            if let Some(p) = packages.get_mut(&text(&node["id"])) {
                p.links = links;
            }
        }
        Workspace { packages, members }
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().map(|id| &self.packages[id])
    }

    /// Names of everything that member `name` is linked with, itself included.
    fn closure(&self, name: &str) -> BTreeSet<&str> {
        let start = self.members.iter().find(|id| self.packages[*id].name == name).expect("there is such a member");
        let (mut seen, mut todo) = (BTreeSet::from([start]), vec![start]);
        while let Some(id) = todo.pop() {
            todo.extend(self.packages[id].links.iter().filter(|l| seen.insert(*l)));
        }
        seen.into_iter().map(|id| self.packages[id].name.as_str()).collect()
    }

    /// Members whose manifest names `dependency`, tests included.
    fn who_names(&self, dependency: &str) -> Vec<&str> {
        let names = |p: &&Package| p.direct.contains(dependency) || p.dev.contains(dependency);
        self.members().filter(names).map(|p| p.name.as_str()).collect()
    }
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/architecture.md")).expect("the page is there")
}

/// The rows of the table below the heading `## name`: cells without backquotes.
fn table(page: &str, name: &str) -> Vec<Vec<String>> {
    let section = page.split("\n## ").find(|s| s.starts_with(name)).unwrap_or_else(|| panic!("no section {name}"));
    let rows = section.lines().filter(|l| l.starts_with('|')).skip(2);
    let rows: Vec<Vec<String>> =
        rows.map(|l| l.trim_matches('|').split('|').map(|c| c.trim().replace('`', "")).collect()).collect();
    assert!(!rows.is_empty(), "section {name} has no table");
    rows
}

/// The words of a cell, separated by commas; a dash stands for none.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(|w| w.trim().to_string()).filter(|w| !w.is_empty() && w != "-").collect()
}

/// The `.rs` files below `folder`, relative to the root, with their text; in order.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = vec![];
    let mut todo = vec![root().join(folder)];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "testdata" {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                files.push((relative(&path), text));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} has no sources");
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn the_code_map_says_what_depends_on_what() {
    let page = page();
    let rows: BTreeMap<String, BTreeSet<String>> =
        table(&page, "Code map").into_iter().map(|r| (r[0].clone(), words(&r[2]))).collect();
    let workspace = Workspace::read();
    let mut found = BTreeSet::new();
    for p in workspace.members() {
        let folder = if p.folder.is_empty() { "src" } else { &p.folder };
        found.insert(folder.to_string());
        let row = rows.get(folder).unwrap_or_else(|| panic!("the code map has no row for {folder}"));
        let ours = p.direct.iter().filter_map(|d| d.strip_prefix("planc-")).map(str::to_string).collect();
        let all = || workspace.members().filter_map(|m| m.name.strip_prefix("planc-")).map(str::to_string);
        let everything = row.iter().find_map(|w| w.strip_prefix("everything"));
        let says = match everything.map(|w| w.trim().trim_start_matches("but ")) {
            Some(except) => all().filter(|m| m != except).collect(),
            None => row.clone(),
        };
        assert_eq!(says, ours, "the code map against the manifest of {folder}");
    }
    assert_eq!(rows.into_keys().collect::<BTreeSet<_>>(), found, "rows of the code map");
}

#[test]
fn each_heavy_dependency_has_one_door() {
    let workspace = Workspace::read();
    for protobuf in ["protobuf", "onnx-protobuf"] {
        assert_eq!(workspace.who_names(protobuf), ["planc-onnx"], "{protobuf}");
    }
    for cranelift in ["cranelift-codegen", "cranelift-frontend"] {
        assert!(workspace.who_names(cranelift).iter().all(|m| *m == "planc-cpu"), "{cranelift}");
    }
    assert!(workspace.who_names("clap").iter().all(|m| *m == "planc"));
    let runtime = workspace.closure("planc-runtime");
    for heavy in
        ["cranelift-codegen", "cranelift-frontend", "protobuf", "onnx-protobuf", "clap", "planc-ops", "planc-ir"]
    {
        assert!(!runtime.contains(heavy), "the runtime links {heavy}");
    }
    let plan = workspace.closure("planc-plan");
    assert!(!plan.contains("planc-ir") && plan.contains("planc-kir"), "the plan knows kernels and no graphs: {plan:?}");
    assert!(workspace.closure("planc").contains("protobuf"), "closures are followed");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    let section =
        manifest.split("\n[").find(|s| s.starts_with("workspace.dependencies]")).expect("there is the section");
    let entries = section.lines().skip(1).filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(" = "));
    let listed: BTreeSet<String> =
        entries.map(|(name, _)| name.to_string()).filter(|n| !n.starts_with("planc-")).collect();
    let page = page();
    let rows = table(&page, "Dependencies");
    let explained: BTreeSet<String> = rows.iter().flat_map(|r| words(&r[0])).collect();
    let missing: Vec<&String> = listed.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/architecture.md gives no reason for {missing:?}");
    assert!(rows.iter().all(|r| r[1].len() > 10), "every row says why");
    let outside: Vec<String> = Workspace::read()
        .members()
        .flat_map(|p| p.direct.union(&p.dev).cloned().collect::<Vec<_>>())
        .filter(|d| !d.starts_with("planc-") && !listed.contains(d))
        .collect();
    assert!(outside.is_empty(), "versions stand in the workspace's manifest: {outside:?}");
}

/// Operator names that backends may know: control flow, which has no kernel; the backend makes programs of its bodies.
const CONTROL_FLOW: &[&str] = &["If", "Loop", "Scan", "SequenceMap"];

#[test]
fn backends_match_on_kernels_and_not_on_operators() {
    let mut found = vec![];
    for (file, text) in sources("backends") {
        for op in planc_ops::all().map(|row| row.name).filter(|n| !CONTROL_FLOW.contains(n)) {
            if text.contains(&format!("\"{op}\"")) {
                found.push(format!("{file}: {op:?}"));
            }
        }
    }
    assert!(found.is_empty(), "backends name operators:\n{}", found.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources("")
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 800)
        .map(|(file, text)| format!("{file}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "split by concept:\n{}", long.join("\n"));
}

/// Where `unsafe` may stand; `docs/architecture.md` says what for.
const UNSAFE: &[&str] = &["crates/tensor/", "crates/kernels/", "crates/runtime/", "backends/"];

#[test]
fn unsafe_has_an_address() {
    let mut found = vec![];
    for (file, text) in sources("").into_iter().filter(|(file, _)| !UNSAFE.iter().any(|u| file.starts_with(u))) {
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let keyword =
                ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "allow(unsafe_code"];
            if !code.contains('"') && keyword.iter().any(|k| code.contains(k)) {
                found.push(format!("{file}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "unsafe outside of its crates:\n{}", found.join("\n"));
    // What the scan does not see, the compiler does: the lint is denied in every crate.
    for p in Workspace::read().members() {
        let manifest =
            std::fs::read_to_string(root().join(&p.folder).join("Cargo.toml")).expect("the manifest is there");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} takes no part in the workspace's lints", p.name);
    }
}

/// The pages, relative to the root, with their text.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs can be read");
    let docs = docs.map(|e| relative(&e.expect("the entry can be read").path()));
    let mut names: Vec<String> = docs.filter(|n| n.ends_with(".md")).collect();
    names.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "scripts/README.md"].map(String::from));
    names.sort();
    let read = |n: String| (std::fs::read_to_string(root().join(&n)).expect("pages are UTF-8"), n);
    names.into_iter().map(read).map(|(text, name)| (name, text)).collect()
}

#[test]
fn pages_name_files_that_exist() {
    const ROOTS: &[&str] =
        &["crates/", "passes/", "backends/", "src/", "docs/", "scripts/", "tests/", "testdata/", "fuzz/"];
    let mut missing = vec![];
    for (page, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|l| l.split_once(')')).map(|(l, _)| l);
        let links = links.filter(|l| !l.contains("://") && !l.starts_with('#'));
        let folder = root().join(&page).parent().map(Path::to_path_buf).unwrap_or_default();
        missing.extend(links.filter(|l| !folder.join(l).exists()).map(|l| format!("{page}: link to {l}")));
        let quoted = text.split('`').skip(1).step_by(2).filter(|q| ROOTS.iter().any(|r| q.starts_with(r)));
        let plain = quoted.filter(|q| !q.contains(['*', '<', ' ', '\n', '{']));
        missing.extend(plain.filter(|q| !root().join(q).exists()).map(|q| format!("{page}: `{q}`")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_guide_to_operators_shows_the_code_that_is_there() {
    let guide = std::fs::read_to_string(root().join("docs/adding-an-op.md")).expect("the guide is there");
    let file = root().join("crates/ops/src/ops/contrib/qlinear_leaky_relu.rs");
    let code = std::fs::read_to_string(file).expect("the operator is there");
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(blocks.len() >= 3, "the guide shows code");
    for block in blocks {
        let shown = block.trim_end().trim_end_matches("...").trim_end();
        assert!(code.contains(shown), "the guide shows what the file does not have:\n{shown}");
    }
}
