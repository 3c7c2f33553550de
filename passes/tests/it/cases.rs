//! The cases of `testdata/passes/<pass>/*.ir`: a graph, and a snapshot of what the pass makes of it.
//!
//! Every case also shows that a second run changes nothing and that results stay the same on random inputs.

use crate::eval;
use planc_ir::{Graph, text};
use planc_ops::infer_graph;
use planc_passes::{NarrowWeights, PIPELINE, PassOptions, Quantise, WeightForm, run_pass};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/passes")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

/// The graph that a text describes, inferred.
pub fn graph(text: &str) -> Graph {
    let mut g = text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    infer_graph(&mut g).unwrap_or_else(|e| panic!("{}\n{text}", e[0]));
    g
}

/// What a text says about quantisation, in comments: `// range NAME LOW HIGH`, `// keep PATTERN`.
fn quantise(text: &str) -> Option<Arc<Quantise>> {
    let mut found = Quantise::default();
    for line in text.lines() {
        match line.trim().trim_start_matches("// ").split(' ').collect::<Vec<_>>()[..] {
            ["range", name, low, high] => {
                found.ranges.insert(name.into(), (low.parse().unwrap(), high.parse().unwrap()));
            }
            ["keep", pattern] => found.keep.push(pattern.into()),
            _ => {}
        }
    }
    (found != Quantise::default()).then(|| Arc::new(found))
}

/// What a text says about weights, in a comment: `// weights FORM`, with `// keep PATTERN`.
fn weights(text: &str) -> Option<Arc<NarrowWeights>> {
    let said = |what: &'static str| text.lines().filter_map(move |l| l.trim().strip_prefix(what));
    let keep = said("// keep ").map(str::to_string).collect();
    let forms = [WeightForm::F16, WeightForm::Bf16, WeightForm::Int8, WeightForm::Int4];
    let form = forms.into_iter().find(|f| said("// weights ").next() == Some(f.name()))?;
    Some(Arc::new(NarrowWeights { form, keep }))
}

/// What the pass makes of the graph `g` of `source`, with what it declined and decided; checks that results stay and
/// that a second run changes nothing. A case whose evaluation fails says so.
pub fn apply(pass: &str, g: &mut Graph, source: &str) -> String {
    let runs = !source.contains("// Does not run.");
    let (quantise, weights) = (quantise(source), weights(source));
    // Rounding to a few bits is what those passes are for.
    let exact = match &weights {
        Some(w) if w.form == WeightForm::Int4 => 0.25,
        None if quantise.is_none() => 1e-5,
        _ => 0.1,
    };
    let options = PassOptions { opt_level: 3, verify: true, quantise, weights, ..PassOptions::default() };
    let before = g.clone();
    let report = run_pass(g, pass, &options).unwrap_or_else(|e| panic!("{e}"));
    let mut shown = text::print(g, &text::Header { opset: None, after: Some(pass.into()) });
    for d in &report.declines {
        shown += &format!("// declined {}: {}\n", d.node, d.reason);
    }
    for d in &report.decisions {
        shown += &format!("// decided {} ({}): {}, {}\n", d.node, d.op, d.choice, d.reason);
    }
    for q in &report.quantised {
        shown += &format!("// codes of {}: {}, scale {}, zero point {}\n", q.value, q.codes, q.scale, q.zero);
    }
    for n in &report.narrowed {
        let (form, size) = (n.form.name(), format!("{} elements in {} bytes", n.elements, n.bytes));
        shown +=
            &format!("// weights {} in {form}: {size}, error {:.2e}, {:.2e}\n", n.weights, n.relative_l2, n.max_abs);
    }
    for (seed, extent) in [(1, 2), (2, 3), (3, 1)].into_iter().filter(|_| runs) {
        let inputs = eval::inputs(&before, seed, extent).expect("inputs of types that have random values");
        let run = |g: &Graph| eval::run(g, g.inputs().iter().copied().zip(inputs.iter().cloned()).collect());
        let expected = run(&before).unwrap_or_else(|e| panic!("{e}\n{before}"));
        let got = run(g).unwrap_or_else(|e| panic!("{e}\n{shown}"));
        for (a, b) in expected.iter().zip(&got) {
            assert!(
                eval::difference(a, b) < eval::tolerance(&before, exact),
                "the pass changes results: {a:?} {b:?}\n{shown}"
            );
        }
    }
    let again = run_pass(g, pass, &options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.changes(pass), 0, "a second run changes something\n{g}");
    shown
}

#[test]
fn cases_give_their_snapshots() {
    for pass in PIPELINE {
        let dir = folder().join(pass.name);
        let cases = files(&dir, "ir");
        assert!(!cases.is_empty(), "pass {} has no cases", pass.name);
        for case in cases {
            let input = std::fs::read_to_string(&case).unwrap();
            let name = case.file_stem().unwrap().to_str().unwrap().to_string();
            let shown = apply(pass.name, &mut graph(&input), &input);
            insta::with_settings!({ snapshot_path => &dir, prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(name, shown);
            });
        }
    }
}

#[test]
fn every_folder_and_snapshot_belongs_to_something() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_string();
        assert!(PIPELINE.iter().any(|p| p.name == name), "no pass {name}");
        for snap in files(&dir, "snap") {
            assert!(snap.with_extension("ir").exists(), "{} has no case", snap.display());
        }
    }
}
