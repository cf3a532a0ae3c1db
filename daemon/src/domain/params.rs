//! Parameters: values by name, in canonical text form. The catalogue knows their types; the domain only carries them.

use std::collections::BTreeMap;

/// Values by parameter name, each in the canonical text form of its type. Secrets are never among them.
pub type Params = BTreeMap<String, String>;

/// The values of a resource, and those that hold for one run of it. No name is in both.
pub fn together(desired: &Params, given: &Params) -> Params {
    desired.iter().chain(given).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What steps have written to `SETTLED_OUTPUT`: values by output name, in canonical form. An empty one takes the value away.
pub type Outputs = BTreeMap<String, String>;
