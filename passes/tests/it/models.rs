//! The whole pipeline on the models in `testdata/models`: outputs stay what they were.

use crate::eval;
use planc_onnx::{Options, import_file};
use planc_passes::{PassOptions, run_pipeline};
use std::path::Path;

#[test]
fn models_keep_their_outputs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models");
    let mut models: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path().join("model.onnx")).collect();
    models.retain(|p| p.exists());
    models.sort();
    assert!(!models.is_empty());
    let mut compared = vec![];
    for model in models {
        let Ok(imported) = import_file(&model, &Options::default()) else { continue };
        for opt_level in 0..=3 {
            let mut g = imported.graph.clone();
            let options = PassOptions { opt_level, verify: true, ..PassOptions::default() };
            run_pipeline(&mut g, &options).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
            let names = |g: &planc_ir::Graph| g.outputs().iter().map(|v| g.value(*v).name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&g), names(&imported.graph), "{}", model.display());
            let Some(inputs) = eval::inputs(&g, 7, 2) else { continue };
            let run =
                |g: &planc_ir::Graph| eval::run(g, g.inputs().iter().copied().zip(inputs.iter().cloned()).collect());
            let Ok(expected) = run(&imported.graph) else { continue };
            compared.push(model.clone());
            let got = run(&g).unwrap_or_else(|e| panic!("{} at {opt_level}: {e}\n{g}", model.display()));
            for (a, b) in expected.iter().zip(&got) {
                let d = eval::difference(a, b);
                assert!(d < eval::tolerance(&imported.graph, 1e-4), "{} at {opt_level}: {d}\n{g}", model.display());
            }
        }
    }
    // Control flow other than If is not evaluated here.
    assert!(compared.len() > 20, "{compared:?}");
}
