//! Parameters: values by name, in canonical text form. The catalogue knows their types; the domain only carries them.

use std::collections::BTreeMap;

/// Values by parameter name, each in the canonical text form of its type. Secrets are never among them.
pub type Params = BTreeMap<String, String>;
