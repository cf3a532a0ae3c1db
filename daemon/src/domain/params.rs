//! Parameters: values by name, in canonical text form. The catalogue knows their types; the domain only carries them.

use std::collections::BTreeMap;

/// Values by parameter name, each in the canonical text form of its type. Secrets are never among them.
pub type Params = BTreeMap<String, String>;

/// What steps have written to `SETTLED_OUTPUT`: values by output name, in canonical form. An empty one takes the value away.
pub type Outputs = BTreeMap<String, String>;
