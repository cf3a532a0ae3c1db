//! What a watcher wants to see, and may: filters, each of which admits some servers and some of what is on them.
//!
//! Which filters admit a server is one [`Mask`], a bit for each. It changes only with the server's labels, so it is looked up once
//! and kept, and the rest of a filter is asked of each object. What the caller may see narrows every filter in the same place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::store::StoreError;
use crate::store::places::{Mention, Place};
use crate::store::rows::{Kind, Object, TransitionRow};

/// Most filters of one watch.
pub const FILTERS_MAX: usize = 32;

/// What whoever sees some servers only is told of.
const CONFINED_KINDS: [Kind; 4] = [Kind::Server, Kind::Resource, Kind::Run, Kind::Step];

/// Some of all objects. All given parts must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this server, by its id.
    pub server: Option<String>,
    /// Only of servers that have all these labels.
    pub labels: BTreeMap<String, String>,
    /// Only of this resource, by its id, and its runs.
    pub resource: Option<String>,
    /// Only resources of this package, and their runs.
    pub package: Option<String>,
    /// Only of this run and its steps.
    pub run: Option<String>,
    /// Only of these kinds; empty means all.
    pub kinds: Vec<Kind>,
}

/// Whether the caller may see what is on a server, by the server's name and labels.
pub type Sees = Arc<dyn Fn(&str, &BTreeMap<String, String>) -> bool + Send + Sync>;

/// What a watcher wants to see: whatever one of its filters matches.
#[derive(Clone)]
pub struct Wanted {
    filters: Vec<Filter>,
    sees: Option<Sees>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("filters", &self.filters).finish_non_exhaustive()
    }
}

/// Which filters admit a server, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mask(u32);

impl Mask {
    /// Those of one and not of the other.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the filter with this number is among them.
    pub(super) const fn has(self, no: usize) -> bool {
        self.0 & (1 << no) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those before this number.
    const fn before(self, no: usize) -> Self {
        Self(self.0 & ((1 << no) - 1))
    }
}

impl Wanted {
    /// Whatever matches one of these, at most [`FILTERS_MAX`]; everything when there are none.
    pub fn new(mut filters: Vec<Filter>) -> Self {
        if filters.is_empty() {
            filters.push(Filter::default());
        }
        filters.truncate(FILTERS_MAX);
        // What is looked at server by server comes last, so that it leaves out what the others hold.
        filters.sort_by_key(|filter| !filter.labels.is_empty());
        Self { filters, sees: None }
    }

    /// And only on servers that the caller may see. What is on no server, and what lifecycles do with one, is not shown to whoever may not
    /// see all.
    #[must_use]
    pub fn within(mut self, sees: Sees) -> Self {
        for filter in &mut self.filters {
            filter.kinds = CONFINED_KINDS.into_iter().filter(|kind| filter.wants(*kind)).collect();
        }
        self.filters.retain(|filter| !filter.kinds.is_empty());
        Self { sees: Some(sees), ..self }
    }

    /// Whether the caller sees some servers only.
    pub(super) fn is_confined(&self) -> bool {
        self.sees.is_some()
    }

    /// Whether the names and labels of servers matter.
    pub(super) fn asks_for_places(&self) -> bool {
        self.sees.is_some() || self.filters.iter().any(|filter| !filter.labels.is_empty())
    }

    /// The filters that admit a server as it is at some time; `None`: nothing is known of it.
    pub(super) fn at(&self, server: &str, place: Option<&Place>) -> Mask {
        let nothing = BTreeMap::new();
        let (name, labels) = place.map_or(("", &nothing), |place| (place.name.as_str(), &place.labels));
        if self.sees.as_ref().is_some_and(|sees| !sees(name, labels)) {
            return Mask::default();
        }
        self.those(|filter| {
            filter.server.as_ref().is_none_or(|id| id == server)
                && filter.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
    }

    /// The filters that admit what is on no server.
    pub(super) fn nowhere(&self) -> Mask {
        let unbound = |filter: &Filter| filter.server.is_none() && filter.labels.is_empty();
        if self.sees.is_some() { Mask::default() } else { self.those(unbound) }
    }

    fn those(&self, admits: impl Fn(&Filter) -> bool) -> Mask {
        let bits = self.filters.iter().zip(0..).filter(|(filter, _)| admits(filter));
        Mask(bits.fold(0, |mask, (_, no)| mask | 1 << no))
    }

    /// Whether one of these filters matches a change.
    pub(super) fn matches(&self, mask: Mask, row: &TransitionRow) -> Result<bool, StoreError> {
        let packages = self.filters.iter().any(|filter| filter.package.is_some());
        let traits = Traits {
            kind: &row.kind,
            resource: row.resource_id.as_deref().map(Cow::Borrowed),
            run: row.run_id.as_deref().map(Cow::Borrowed),
            package: if packages { row.package()?.map(Cow::Owned) } else { None },
        };
        Ok(self.filters.iter().enumerate().any(|(no, filter)| mask.has(no) && filter.matches(&traits)))
    }

    /// The filters with their numbers.
    pub(super) fn filters(&self) -> impl Iterator<Item = (usize, &Filter)> {
        self.filters.iter().enumerate()
    }

    /// Whether a filter admits servers by themselves, without their names and labels.
    pub(super) fn admits_by_id(&self, filter: &Filter) -> bool {
        self.sees.is_none() && filter.labels.is_empty()
    }

    /// These filters, for this server alone.
    pub(super) fn on(&self, server: &str, mask: Mask) -> Vec<Filter> {
        let here = self.filters().filter(|(no, _)| mask.has(*no));
        here.map(|(_, filter)| filter.on(server)).collect()
    }

    /// The filters before this number that admit a server, for it alone.
    pub(super) fn before(&self, no: usize, server: &str, mask: Mask) -> Vec<Filter> {
        self.on(server, mask.before(no))
    }
}

/// What filters ask of an object, beside its server.
pub(super) struct Traits<'a> {
    kind: &'a str,
    resource: Option<Cow<'a, str>>,
    run: Option<Cow<'a, str>>,
    package: Option<Cow<'a, str>>,
}

impl<'a> Traits<'a> {
    /// Of an object that is mentioned.
    pub(super) fn mentioned(kind: Kind, of: &'a Mention) -> Self {
        Self {
            kind: kind.as_str(),
            resource: of.resource_id.as_deref().map(Cow::Borrowed),
            run: (kind == Kind::Run).then_some(Cow::Borrowed(of.id.as_str())),
            package: of.package.as_deref().map(Cow::Borrowed),
        }
    }

    /// Of an object as it stands.
    pub(super) fn standing(object: &'a Object) -> Self {
        let owned = |id: Option<String>| id.map(Cow::Owned);
        let nothing = Self { kind: object.kind().as_str(), resource: None, run: None, package: None };
        match object {
            Object::Server(_) | Object::Schedule(_) => nothing,
            Object::Resource(r) => Self {
                resource: Some(Cow::Owned(r.id.to_string())),
                package: Some(Cow::Borrowed(&r.package)),
                ..nothing
            },
            Object::Run(_, row) => Self {
                resource: row.resource_id.as_deref().map(Cow::Borrowed),
                run: Some(Cow::Borrowed(&row.id)),
                package: row.package.as_deref().map(Cow::Borrowed),
                ..nothing
            },
            Object::Step(step) => Self {
                resource: owned(step.resource.map(|id| id.to_string())),
                run: Some(Cow::Owned(step.id.run.to_string())),
                ..nothing
            },
            Object::Enrollment(e) => {
                Self { resource: owned(e.subject.resource.map(|id| id.to_string())), ..nothing }
            }
        }
    }
}

impl Filter {
    /// This filter for one server that it admits.
    pub(super) fn on(&self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), labels: BTreeMap::new(), ..self.clone() }
    }

    /// Whether it wants this kind at all.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Whether it matches an object on a server that it admits.
    pub(super) fn matches(&self, traits: &Traits<'_>) -> bool {
        let is = |asked: &Option<String>, has: &Option<Cow<'_, str>>| {
            asked.as_deref().is_none_or(|asked| has.as_deref() == Some(asked))
        };
        is(&self.resource, &traits.resource)
            && is(&self.package, &traits.package)
            && is(&self.run, &traits.run)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.as_str() == traits.kind))
    }

    /// Whether a snapshot through this filter holds an object of a server: history only where one resource or one run is asked for.
    pub(super) fn holds(&self, object: &Object, server: &str) -> bool {
        let reaches = match object {
            Object::Run(_, row) => row.settles_by.is_some() || self.resource.is_some() || self.run.is_some(),
            Object::Step(_) => self.run.is_some(),
            Object::Server(_) | Object::Resource(_) | Object::Schedule(_) | Object::Enrollment(_) => true,
        };
        reaches
            && self.server.as_deref().is_none_or(|id| id == server)
            && self.matches(&Traits::standing(object))
    }
}

/// The id of the server that an object is on; empty for what is on none.
pub(super) fn server_of(object: &Object) -> String {
    match object {
        Object::Server(s) => s.id.to_string(),
        Object::Resource(r) => r.server.to_string(),
        Object::Run(_, row) => row.server_id.clone(),
        Object::Step(s) => s.server.to_string(),
        Object::Schedule(_) => String::new(),
        Object::Enrollment(e) => e.subject.server.map(|id| id.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(labels: &[(&str, &str)]) -> Place {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Place { name: "web1".to_owned(), labels }
    }

    fn labelled(key: &str, value: &str) -> Filter {
        Filter { labels: [(key.to_owned(), value.to_owned())].into(), ..Filter::default() }
    }

    #[test]
    fn a_server_is_admitted_by_its_id_and_by_all_labels() {
        let mut both = labelled("site", "oslo");
        both.labels.insert("tier".to_owned(), "web".to_owned());
        let one = Filter { server: Some("S".to_owned()), ..Filter::default() };
        let wanted = Wanted::new(vec![labelled("site", "oslo"), both, one]);
        assert!(wanted.asks_for_places());
        assert_eq!(wanted.at("S", Some(&place(&[("site", "oslo")]))), Mask(0b011));
        assert_eq!(wanted.at("T", Some(&place(&[("site", "oslo"), ("tier", "web")]))), Mask(0b110));
        assert_eq!(wanted.at("T", Some(&place(&[("site", "berlin")]))), Mask::default());
        assert_eq!(wanted.at("S", None), Mask(0b001), "an id is enough when nothing else is known");
        assert_eq!(wanted.nowhere(), Mask::default());
        assert_eq!(Wanted::new(Vec::new()).nowhere(), Mask(1));
    }

    #[test]
    fn p14_what_the_caller_may_see_narrows_every_filter() {
        let sees: Sees = Arc::new(|name, labels| name == "web1" && labels.contains_key("mine"));
        let wanted = Wanted::new(vec![Filter::default(), labelled("site", "oslo")]).within(sees);
        assert_eq!(wanted.at("S", Some(&place(&[("site", "oslo")]))), Mask::default());
        assert_eq!(wanted.at("S", Some(&place(&[("site", "oslo"), ("mine", "")]))), Mask(0b11));
        assert_eq!(wanted.at("S", None), Mask::default(), "who is not known is not shown");
        assert_eq!(wanted.nowhere(), Mask::default(), "what is on no server is for those who see all");
        assert!(
            wanted.filters().all(|(_, filter)| !filter.wants(Kind::Enrollment) && filter.wants(Kind::Step))
        );
        let filter = Filter { kinds: vec![Kind::Enrollment], ..Filter::default() };
        let nothing = Wanted::new(vec![filter]).within(Arc::new(|_, _| true));
        assert_eq!(
            nothing.at("S", Some(&place(&[]))),
            Mask::default(),
            "and not all kinds, when none is left"
        );
    }
}
