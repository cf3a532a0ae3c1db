//! The methods of the contract: by the path of a request, and by the name that people and the audit know.

use std::collections::HashMap;
use std::sync::LazyLock;

use settled_proto::v1::Verb as WireVerb;

use super::stream::is_stream;
use crate::auth::Verb;

/// A method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Method {
    /// `Resources.Install`.
    pub(super) name: String,
    /// What its caller must be allowed to do.
    pub(super) verb: Verb,
}

/// What stands before the name of a service in a path.
const PACKAGE: &str = "/settled.v1.";

static BY_PATH: LazyLock<HashMap<&'static str, Method>> = LazyLock::new(|| {
    let method = |&(path, verb, _): &(&'static str, i32, i32)| {
        let name = path.strip_prefix(PACKAGE)?.replace('/', ".");
        Some((path, Method { name, verb: verb_of(verb)? }))
    };
    settled_proto::ACCESS.iter().filter_map(method).collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| BY_PATH.values().map(|method| (method.name.as_str(), method)).collect());

/// The method that a request asks for by its path.
pub(super) fn at(path: &str) -> Option<&'static Method> {
    BY_PATH.get(path)
}

/// The method of this name.
pub(super) fn named(name: &str) -> Option<&'static Method> {
    BY_NAME.get(name).copied()
}

/// Whether a request is answered with one message. What stands beside the contract is answered as it likes.
pub(super) fn answers_once(path: &str) -> bool {
    at(path).is_some() && !is_stream(path)
}

/// The verb of a number of the contract.
pub(super) fn verb_of(number: i32) -> Option<Verb> {
    match WireVerb::try_from(number) {
        Ok(WireVerb::View) => Some(Verb::View),
        Ok(WireVerb::Operate) => Some(Verb::Operate),
        Ok(WireVerb::Administer) => Some(Verb::Administer),
        Ok(WireVerb::Unspecified) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_contract_is_found_by_its_path_and_by_its_name() {
        assert_eq!(BY_PATH.len(), settled_proto::ACCESS.len());
        for &(path, ..) in settled_proto::ACCESS {
            let method = at(path).unwrap();
            assert_eq!(named(&method.name), Some(method), "{path}");
        }
        assert_eq!(named("Resources.Install").unwrap().verb, Verb::Operate);
        assert_eq!(at("/settled.v1.Resources/Nothing"), None);
    }
}
