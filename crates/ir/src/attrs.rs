//! Attributes of a node: values by name, kept sorted.

use planc_tensor::{Attr, Tensor};

/// Attribute values by name, in name order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(Vec<(String, Attr)>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// The attribute `name`.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|i| &self.0[i].1)
    }

    /// Sets the attribute `name`.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Attr>) {
        let (name, value) = (name.into(), value.into());
        match self.0.binary_search_by(|(n, _)| n.cmp(&name)) {
            Ok(i) => self.0[i].1 = value,
            Err(i) => self.0.insert(i, (name, value)),
        }
    }

    /// Sets the attribute `name` and returns the whole, for building.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Attr>) -> Attrs {
        self.set(name, value);
        self
    }

    /// Removes the attribute `name`.
    pub fn take(&mut self, name: &str) -> Option<Attr> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|i| self.0.remove(i).1)
    }

    /// The attributes in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(n, a)| (n.as_str(), a))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        if let Some(Attr::Int(v)) = self.get(name) { Some(*v) } else { None }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        if let Some(Attr::Float(v)) = self.get(name) { Some(*v) } else { None }
    }

    /// A string attribute.
    pub fn str(&self, name: &str) -> Option<&str> {
        if let Some(Attr::Str(v)) = self.get(name) { Some(v) } else { None }
    }

    /// An attribute of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attr::Ints(v)) = self.get(name) { Some(v) } else { None }
    }

    /// An attribute of floats.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        if let Some(Attr::Floats(v)) = self.get(name) { Some(v) } else { None }
    }

    /// An attribute of strings.
    pub fn strs(&self, name: &str) -> Option<&[String]> {
        if let Some(Attr::Strs(v)) = self.get(name) { Some(v) } else { None }
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        if let Some(Attr::Tensor(v)) = self.get(name) { Some(v) } else { None }
    }
}

impl FromIterator<(String, Attr)> for Attrs {
    fn from_iter<I: IntoIterator<Item = (String, Attr)>>(attrs: I) -> Attrs {
        let mut out = Attrs::new();
        attrs.into_iter().for_each(|(n, a)| out.set(n, a));
        out
    }
}
