//! The graph: values, nodes, editor, verifier, text form.
