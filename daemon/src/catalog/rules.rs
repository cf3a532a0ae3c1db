//! Rules across parameters: what one value asks of others.

use crate::domain::params::Params;

use super::check::FieldProblem;
use super::definition::{Condition, Definition, Rule, Wanted};

impl Definition {
    /// What the rules say of a complete set of values. `has_secret`: whether a secret has a value, or had one before.
    pub(super) fn broken_rules(
        &self,
        params: &Params,
        has_secret: impl Fn(&str) -> bool,
    ) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.when.iter().all(|one| one.holds(params))) {
            let given = |name: &String| params.contains_key(name) || has_secret(name);
            for name in rule.needs.iter().filter(|name| !given(name)) {
                problems.push(self.broken(name, rule, "is needed"));
            }
            for name in rule.excludes.iter().filter(|name| given(name)) {
                problems.push(self.broken(name, rule, "must be left out, or given empty to take it away,"));
            }
            if rule.needs.is_empty() && rule.excludes.is_empty() {
                let names = rule.when.iter().map(|condition| &condition.parameter);
                problems.extend(names.map(|name| self.broken(name, rule, "is refused")));
            }
        }
        problems
    }

    fn broken(&self, name: &str, rule: &Rule, must: &str) -> FieldProblem {
        let secret = self.parameter(name).is_some_and(super::Parameter::secret);
        let place = if secret { "secrets" } else { "parameters" };
        let message = rule.say.clone().unwrap_or_else(|| format!("{must}{}", rule.when_in_words()));
        FieldProblem { field: format!("{place}.{name}"), message }
    }
}

impl Rule {
    /// What it asks for, for people.
    pub fn in_words(&self) -> String {
        let mut asks = Vec::new();
        if self.needs.is_empty() && self.excludes.is_empty() {
            asks.push("it is refused".to_owned());
        }
        if !self.needs.is_empty() {
            asks.push(format!("{} needed", are(&self.needs)));
        }
        if !self.excludes.is_empty() {
            asks.push(format!("{} left out", are(&self.excludes)));
        }
        let say = self.say.as_ref().map_or_else(String::new, |say| format!(": {say}"));
        format!("{}{}{say}", asks.join(", "), self.when_in_words())
    }

    fn when_in_words(&self) -> String {
        let conditions: Vec<_> = self.when.iter().map(Condition::in_words).collect();
        if conditions.is_empty() { String::new() } else { format!(" when {}", conditions.join(" and ")) }
    }
}

impl Condition {
    /// Whether the value is as wanted.
    pub(super) fn holds(&self, params: &Params) -> bool {
        let value = params.get(&self.parameter).map_or("", String::as_str);
        match &self.wanted {
            Wanted::OneOf(values) => values.iter().any(|wanted| wanted == value),
            Wanted::Not(values) => values.iter().all(|unwanted| unwanted != value),
            Wanted::Given(given) => *given != value.is_empty(),
        }
    }

    /// It, for people.
    pub(super) fn in_words(&self) -> String {
        let name = &self.parameter;
        match &self.wanted {
            Wanted::OneOf(values) => format!("{name} is {}", values.join(" or ")),
            Wanted::Not(values) => format!("{name} is not {}", values.join(" or ")),
            Wanted::Given(true) => format!("{name} is given"),
            Wanted::Given(false) => format!("{name} is not given"),
        }
    }
}

fn are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Given, parse};
    use super::*;

    const SITE: &str = r#"
name = "site"
summary = "x"
parameters.kind = { type = "enum", values = ["static", "php", "proxy"], summary = "x", default = "static" }
parameters.root = { type = "path", summary = "x", required = false }
parameters.upstream = { type = "url", summary = "x", required = false }
parameters.key = { type = "secret", summary = "x", required = false }
operations.install.steps = [{ title = "x", script = "x", secrets = ["key"] }]
operations.remove.steps = [{ title = "x", script = "x" }]
"#;

    /// What is wrong with `name=value` pairs; a value of `key` is a secret.
    fn broken(rules: &str, values: &str, given: Given<'_>) -> Vec<String> {
        let definition = parse(&format!("{SITE}{rules}")).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let pairs = values.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        let (mut params, mut secrets) = (Params::new(), BTreeMap::new());
        for (name, value) in pairs {
            match name {
                "key" => drop(secrets.insert(name.to_owned(), value.as_bytes().to_vec())),
                _ => drop(params.insert(name.to_owned(), value.to_owned())),
            }
        }
        let answer = definition.check(&params, &secrets, given);
        answer.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_names_the_fields_that_break_it() {
        let rules = r#"
[[rules]]
when = { kind = ["static", "php"] }
needs = ["root"]
excludes = ["upstream"]
[[rules]]
when = { kind = "proxy" }
needs = ["upstream", "key"]
"#;
        for (values, expected) in [
            ("root=/srv", &[][..]),
            ("kind=proxy upstream=http://a key=k", &[]),
            ("", &["parameters.root: is needed when kind is static or php"]),
            (
                "kind=php upstream=http://a",
                &[
                    "parameters.root: is needed when kind is static or php",
                    "parameters.upstream: must be left out, or given empty to take it away, when kind is static or php",
                ],
            ),
            (
                "kind=proxy",
                &[
                    "parameters.upstream: is needed when kind is proxy",
                    "secrets.key: is needed when kind is proxy",
                ],
            ),
        ] {
            assert_eq!(broken(rules, values, Given::Install), expected, "{values}");
        }
    }

    #[test]
    fn an_update_is_judged_by_what_comes_of_it() {
        let rules = "[[rules]]\nwhen = { kind = \"proxy\" }\nneeds = [\"key\"]\nexcludes = [\"root\"]\n";
        let current =
            Params::from([("kind".to_owned(), "static".to_owned()), ("root".to_owned(), "/srv".to_owned())]);
        let with = |values: &str, secrets: &[String]| {
            broken(rules, values, Given::Update { current: &current, current_secrets: secrets })
        };
        assert_eq!(with("", &[]), [""; 0]);
        assert_eq!(with("kind=proxy root=", &["key".to_owned()]), [""; 0]);
        let expected = [
            "secrets.key: is needed when kind is proxy",
            "parameters.root: must be left out, or given empty to take it away, when kind is proxy",
        ];
        assert_eq!(with("kind=proxy", &[]), expected);
    }

    #[test]
    fn values_that_are_never_allowed_are_refused_in_the_words_of_the_rule() {
        let rules = "[[rules]]\nwhen = { root = [\"/etc\", \"/usr\"] }\nsay = \"belongs to the system\"\n";
        assert_eq!(broken(rules, "root=/etc/", Given::Install), ["parameters.root: belongs to the system"]);
        assert_eq!(broken(rules, "root=/srv", Given::Install), [""; 0]);
        let rules = "[[rules]]\nwhen = { key = { given = true } }\nneeds = [\"root\"]\n";
        assert!(parse(&format!("{SITE}{rules}")).unwrap_err()[0].message.contains("`key` is a secret"));
        let rules = "[[rules]]\nwhen = { root = { not = [\"/srv\"] } }\nneeds = [\"key\"]\n";
        assert_eq!(
            broken(rules, "root=/a", Given::Install),
            ["secrets.key: is needed when root is not /srv"]
        );
        assert_eq!(broken(rules, "root=/srv", Given::Install), [""; 0]);
    }

    #[test]
    fn rules_are_told_in_words() {
        let rules = r#"
[[rules]]
needs = ["root"]
[[rules]]
when = { kind = { not = ["static", "php"] }, root = { given = true } }
needs = ["upstream", "key"]
say = "like http://127.0.0.1:3000"
[[rules]]
when = { root = "/etc" }
say = "belongs to the system"
"#;
        let definition = parse(&format!("{SITE}{rules}")).unwrap();
        let words: Vec<_> = definition.rules.iter().map(Rule::in_words).collect();
        let expected = [
            "root is needed",
            "upstream, key are needed when kind is not static or php and root is given: like http://127.0.0.1:3000",
            "it is refused when root is /etc: belongs to the system",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn what_is_wrong_in_itself_is_told_first() {
        let rules = "[[rules]]\nneeds = [\"root\"]\n";
        assert_eq!(broken(rules, "", Given::Install), ["parameters.root: is needed"]);
        let shown = broken(rules, "root=x", Given::Install);
        assert!(shown.len() == 1 && shown[0].contains("does not fit"), "{shown:?}");
    }
}
