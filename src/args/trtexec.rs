//! Command lines written for trtexec, which has no verbs: the verb is found from the flags.

use std::ffi::OsString;

/// `given` with a verb in front when it starts with a flag of trtexec: `--onnx` with `--saveEngine` compiles, each of
/// `--onnx` and `--loadEngine` alone measures.
pub fn translated(mut given: Vec<OsString>) -> Vec<OsString> {
    let has = |name: &str| {
        given.iter().skip(1).any(|a| {
            let rest = a.to_str().and_then(|a| a.strip_prefix(name));
            rest.is_some_and(|r| r.is_empty() || r.starts_with('='))
        })
    };
    let flag_first = given.get(1).and_then(|a| a.to_str()).is_some_and(|a| a.starts_with("--"));
    if flag_first && (has("--onnx") || has("--loadEngine")) {
        let verb = if has("--saveEngine") { "compile" } else { "bench" };
        given.insert(1, verb.into());
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (given, expected) in [
            ("planc --onnx=a --saveEngine=b", "planc compile --onnx=a --saveEngine=b"),
            ("planc --verbose --loadEngine b", "planc bench --verbose --loadEngine b"),
            ("planc --onnx=a", "planc bench --onnx=a"),
            ("planc compile --onnx=a", "planc compile --onnx=a"),
            ("planc --help", "planc --help"),
        ] {
            assert_eq!(translated(words(given)), words(expected));
        }
    }
}
