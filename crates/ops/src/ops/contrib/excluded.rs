//! Operators that stand for whole programs, which planc does not run: why, and what to do instead.

/// What those of the family of beam search have in common.
const SEARCH: &str = "export the decoder in it by itself, compile that, and choose tokens in the program that calls it: the \
                      operator holds a decoder and the loop that runs it";

/// What to do without an operator that is left out on purpose, and why; `None` for operators that are just not there.
pub fn instead(domain: &str, name: &str) -> Option<&'static str> {
    let search = ["BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"];
    (domain == "com.microsoft" && search.contains(&name)).then_some(SEARCH)
}
