//! A server that loses the labels that a watch asks for goes, and with it all that is on it: page by page, as ids only. What it has become
//! since is none of the watcher's business. What has come to it since goes, too, for who may have seen that when the server came, as it stands
//! now; to who may not see the server any more it was not told, and is not named.

use super::Left;
use super::wanted::{Filter, Mask, Traits, Wanted};
use crate::store::places::Mention;
use crate::store::rows::{Kind, TransitionRow};
use crate::store::{Db, StoreError};

/// Which part comes next.
enum Part {
    Server,
    Resources {
        after: String,
    },
    Runs {
        after: String,
    },
    Enrollments {
        after: String,
    },
    /// What went between the change of labels and the look at the other parts, in which it cannot be found any more.
    Gone {
        after: i64,
    },
    Done,
}

/// What leaves with one server.
pub(super) struct Leaving {
    server: String,
    /// The number of the change of labels.
    seq: i64,
    /// The number up to which what goes was made.
    made_by: i64,
    /// The filters that admit it no more.
    was: Vec<Filter>,
    /// Those that still do.
    is: Vec<Filter>,
    part: Part,
}

impl Leaving {
    /// Of a server that leaves with the transition of this number, out of these filters; those still admit it.
    pub(super) fn new(wanted: &Wanted, server: &str, seq: i64, (goes, stays): (Mask, Mask)) -> Self {
        let (was, is) = (wanted.on(server, goes), wanted.on(server, stays));
        // As long as another filter admits the server, its caller sees it.
        let made_by = if wanted.is_confined() && stays.is_empty() { seq } else { i64::MAX };
        Self { server: server.to_owned(), seq, made_by, was, is, part: Part::Server }
    }

    /// The next page; `None` after the last. A page may be empty.
    pub(super) async fn next(
        &mut self,
        db: &mut Db<'_>,
        limit: i64,
    ) -> Result<Option<Vec<Left>>, StoreError> {
        let (server, seq, made_by) = (self.server.clone(), self.seq, self.made_by);
        let is_full = |rows: usize| i64::try_from(rows).is_ok_and(|rows| rows >= limit);
        let last = |of: &[Mention]| of.last().filter(|_| is_full(of.len())).map(|last| last.id.clone());
        let (kind, mentions, next) = match std::mem::replace(&mut self.part, Part::Done) {
            Part::Server => {
                let itself = Mention { id: server, resource_id: None, package: None };
                (Kind::Server, vec![itself], Part::Resources { after: String::new() })
            }
            Part::Resources { after } => {
                let found = db.resources_on(&server, made_by, &after, limit).await?;
                let next = last(&found)
                    .map_or(Part::Runs { after: String::new() }, |after| Part::Resources { after });
                (Kind::Resource, found, next)
            }
            Part::Runs { after } => {
                let found = db.runs_open_at(&server, (seq, made_by), &after, limit).await?;
                let next = last(&found)
                    .map_or(Part::Enrollments { after: String::new() }, |after| Part::Runs { after });
                (Kind::Run, found, next)
            }
            Part::Enrollments { after } => {
                let found = db.enrollments_open_at(&server, (seq, made_by), &after, limit).await?;
                let next =
                    last(&found).map_or(Part::Gone { after: seq }, |after| Part::Enrollments { after });
                (Kind::Enrollment, found, next)
            }
            Part::Gone { after } => {
                let gone = db.gone_since(&server, made_by, after, limit).await?;
                if let Some(last) = gone.last().filter(|_| is_full(gone.len())) {
                    self.part = Part::Gone { after: last.seq };
                }
                return Ok(Some(self.went(&gone)?));
            }
            Part::Done => return Ok(None),
        };
        self.part = next;
        Ok(Some(mentions.iter().filter_map(|of| self.left(kind, of)).collect()))
    }

    fn went(&self, gone: &[TransitionRow]) -> Result<Vec<Left>, StoreError> {
        let mut left = Vec::new();
        for row in gone {
            let of = Mention {
                id: row.object_id.clone(),
                resource_id: row.resource_id.clone(),
                package: row.package()?,
            };
            let kind = Kind::parse(&row.kind).filter(|kind| *kind != Kind::Server);
            left.extend(kind.and_then(|kind| self.left(kind, &of)));
        }
        Ok(left)
    }

    fn left(&self, kind: Kind, of: &Mention) -> Option<Left> {
        let traits = Traits::mentioned(kind, of);
        let one = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(&traits));
        (one(&self.was) && !one(&self.is)).then(|| Left {
            seq: self.seq,
            kind,
            object: of.id.clone(),
            server: self.server.clone(),
            resource: of.resource_id.clone(),
            run: (kind == Kind::Run).then(|| of.id.clone()),
        })
    }
}
