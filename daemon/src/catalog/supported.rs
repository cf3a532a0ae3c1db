//! Where a package works: distributions with their versions, and architectures.
//!
//! What a server is, is what it told about itself (its facts). What it did not tell is not held against it.

use std::collections::BTreeMap;

use crate::domain::operation::Operation;

use super::definition::Definition;

/// The distributions that settled serves, as `ID` of os-release has them.
pub(super) const DISTRIBUTIONS: [&str; 2] = ["debian", "ubuntu"];

/// Where a package works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supported {
    /// Distributions with their versions; no versions: every one. Empty: every distribution that settled serves.
    pub distributions: Vec<(String, Vec<String>)>,
    /// Architectures as `uname -m` has them; empty: every one.
    pub architectures: Vec<String>,
    /// What to use elsewhere.
    pub hint: Option<String>,
}

impl Definition {
    /// Why an operation cannot work on a server with these facts; `None` when nothing speaks against it. What is there can be looked at
    /// and taken away everywhere.
    pub fn misfit(&self, operation: &Operation, facts: &BTreeMap<String, String>) -> Option<String> {
        let supported = self.supported.as_ref()?;
        if matches!(operation, Operation::Remove | Operation::Probe) {
            return None;
        }
        let (works_on, is) = supported.misfit(facts)?;
        let hint = supported.hint.as_ref().map_or_else(String::new, |hint| format!(": {hint}"));
        Some(format!("the package {} supports {works_on}; this server is {is}{hint}", self.name))
    }
}

impl Supported {
    /// What it works on, and what the server is instead.
    fn misfit(&self, facts: &BTreeMap<String, String>) -> Option<(String, String)> {
        let fact = |name: &str| facts.get(name).map_or("", String::as_str);
        let (os, version, arch) = (fact("os"), fact("os_version"), fact("arch"));
        if !os.is_empty() && !self.has_distribution(os, version) {
            return Some((self.distributions_in_words(), format!("{os} {version}").trim_end().to_owned()));
        }
        let known = arch.is_empty() || self.architectures.is_empty();
        let fits = known || self.architectures.iter().any(|one| one == arch);
        (!fits).then(|| (self.architectures.join(" and "), arch.to_owned()))
    }

    fn has_distribution(&self, os: &str, version: &str) -> bool {
        let fits = |(name, versions): &(String, Vec<String>)| {
            name == os && (versions.is_empty() || versions.iter().any(|one| one == version))
        };
        self.distributions.is_empty() || self.distributions.iter().any(fits)
    }

    fn distributions_in_words(&self) -> String {
        let one = |(name, versions): &(String, Vec<String>)| {
            format!("{name} {}", versions.join(", ")).trim_end().to_owned()
        };
        self.distributions.iter().map(one).collect::<Vec<_>>().join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// Why an install cannot work there; `os version arch`, with `-` for what the server did not tell.
    fn check(supported: &str, server: &str, expected: &str) {
        let text = format!(
            "name = \"php\"\nsummary = \"x\"\n{supported}\n[operations.install]\nsteps = [{{ title = \"x\", script = \"x\" }}]\n\
             [operations.remove]\nsteps = [{{ title = \"x\", script = \"x\" }}]\n"
        );
        let definition = parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let told = ["os", "os_version", "arch"].into_iter().zip(server.split(' '));
        let facts =
            told.filter(|(_, value)| *value != "-").map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let misfit = definition.misfit(&Operation::Install, &facts).unwrap_or_default();
        assert_eq!(misfit, expected, "{supported} on {server}");
        assert_eq!(definition.misfit(&Operation::Remove, &facts), None);
    }

    #[test]
    fn a_server_that_a_package_does_not_support_is_told_with_what_it_does() {
        let two = "supported = { debian = [\"12\", \"13\"], ubuntu = [\"22.04\", \"24.04\"] }";
        let words = "the package php supports debian 12, 13 and ubuntu 22.04, 24.04; this server is";
        for fits in ["debian 12 x86_64", "debian 13 -", "ubuntu 24.04 aarch64", "- - -"] {
            check(two, fits, "");
        }
        check(two, "debian 11 x86_64", &format!("{words} debian 11"));
        check(two, "ubuntu 12 -", &format!("{words} ubuntu 12"));
        check(two, "debian - -", &format!("{words} debian"));

        let one = "supported = { ubuntu = true, hint = \"use mariadb instead\" }";
        check(one, "ubuntu 26.04 -", "");
        check(
            one,
            "debian 12 -",
            "the package php supports ubuntu; this server is debian 12: use mariadb instead",
        );

        let arch = "supported = { architectures = [\"x86_64\"] }";
        for fits in ["debian 12 x86_64", "ubuntu 24.04 -"] {
            check(arch, fits, "");
        }
        check(arch, "debian 12 riscv64", "the package php supports x86_64; this server is riscv64");
        check("", "debian 3.1 vax", "");
    }
}
