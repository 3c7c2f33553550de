//! Operators that stand for whole programs, which planc does not run: why, and what to do instead.

/// What those of the family of beam search have in common.
const SEARCH: &str = "it holds a decoder and the loop that runs it; export the decoder by itself, compile that, and choose \
                      tokens in the program that calls it";

/// Why an operator is left out on purpose, and a way to do without it; `None` for operators that are just not there.
pub fn reason(domain: &str, name: &str) -> Option<&'static str> {
    let search = ["BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"];
    (domain == "com.microsoft" && search.contains(&name)).then_some(SEARCH)
}
