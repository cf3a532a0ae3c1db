//! The audit, for the service `Admin`.

use settled_proto::v1;

use super::enrollments::{before, point};
use super::pages::Page;
use super::{Api, check, convert};
use crate::auth::Verb;
use crate::domain::time::Timestamp;
use crate::engine::{Changed, Refusal};
use crate::store::{AuditFilter, AuditRecord, StoreError};

/// Transitions that are shown with one entry, at most.
const TRANSITIONS_MAX: i64 = 100;
/// Characters of their objects together, at most: an answer is well below the largest message.
const SHOWN_CHARS_MAX: i64 = 1 << 20;

impl Api {
    pub(super) async fn audit(&self, m: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Refusal> {
        let filter = filter(&m)?;
        let (page_size, page_token) = (m.page_size, m.page_token.clone());
        let list = v1::ListAuditRequest { page_size: 0, page_token: String::new(), ..m };
        let page = Page::new(self.engine(), "Admin.ListAudit", &list, page_size, &page_token)?;
        let after = before(&page.after);
        let rows = self.engine().store().read().await?.db().audited(&filter, after, page.limit()).await?;
        let keys: Vec<_> = rows.iter().map(|row| format!("{}:{}", row.at, row.seq)).collect();
        let entries = rows.into_iter().map(entry).collect::<Result<_, _>>()?;
        let (entries, next_page_token) = page.cut_by(entries, &keys);
        Ok(v1::ListAuditResponse { entries, next_page_token })
    }

    pub(super) async fn audited(&self, m: &v1::GetAuditRequest) -> Result<v1::GetAuditResponse, Refusal> {
        let seq = i64::try_from(m.seq).ok().filter(|seq| *seq > 0);
        let seq = seq.ok_or_else(|| Refusal::field("seq", "is the number of an entry, from 1 on"))?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let found = db.audit(seq).await?;
        let row = found.ok_or_else(|| Refusal::NotFound { what: "audit entry", name: seq.to_string() })?;
        let (from, to) =
            (row.transitions_from, row.transitions_to.min(row.transitions_from + TRANSITIONS_MAX - 1));
        let transitions = if from <= to {
            db.page_of_transitions(from - 1, to - from + 1, SHOWN_CHARS_MAX).await?
        } else {
            Vec::new()
        };
        let transitions = transitions.iter().filter(|kept| kept.seq <= to).map(convert::transition);
        let transitions = transitions.collect::<Result<_, _>>()?;
        let run_id = row.run_id.clone();
        let entry = Some(entry(row)?);
        drop(reader);
        let run = match run_id {
            None => None,
            Some(id) => match self.get_run(check::id("run_id", &id)?).await {
                Ok(run) => Some(run),
                Err(Refusal::NotFound { .. }) => None,
                Err(refusal) => return Err(refusal),
            },
        };
        Ok(v1::GetAuditResponse { entry, run, transitions })
    }
}

fn filter(m: &v1::ListAuditRequest) -> Result<AuditFilter, Refusal> {
    let given = |field: &str, text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        check::name(field, text).map(|()| Some(text.to_owned()))
    };
    Ok(AuditFilter {
        principal: given("principal", &m.principal)?,
        verb: verb(m.verb)?.map(|verb| verb.as_str().to_owned()),
        method: given("method", &m.method)?,
        server: given("server", &m.server)?,
        result: result_word(m.result)?,
        since: m.since.as_ref().map(|at| point("since", at)).transpose()?,
        until: m.until.as_ref().map(|at| point("until", at)).transpose()?,
        oldest_first: m.oldest_first,
    })
}

fn verb(number: i32) -> Result<Option<Verb>, Refusal> {
    Ok(match check::word("verb", number)? {
        v1::Verb::Unspecified => None,
        v1::Verb::View => Some(Verb::View),
        v1::Verb::Operate => Some(Verb::Operate),
        v1::Verb::Administer => Some(Verb::Administer),
    })
}

fn result_word(number: i32) -> Result<Option<String>, Refusal> {
    let word = match check::word("result", number)? {
        v1::AuditResult::Unspecified => return Ok(None),
        v1::AuditResult::Accepted => "accepted",
        v1::AuditResult::Refused => "refused",
        v1::AuditResult::Done => "done",
    };
    Ok(Some(word.to_owned()))
}

fn entry(row: AuditRecord) -> Result<v1::AuditEntry, StoreError> {
    let damaged = |what: &str, word: &str| StoreError::Corrupt(format!("{what} `{word}` of the audit"));
    let result = match row.result.as_str() {
        "accepted" => v1::AuditResult::Accepted,
        "refused" => v1::AuditResult::Refused,
        "done" => v1::AuditResult::Done,
        other => return Err(damaged("result", other)),
    };
    let verb = match row.verb.as_str() {
        "view" => v1::Verb::View,
        "operate" => v1::Verb::Operate,
        "administer" => v1::Verb::Administer,
        other => return Err(damaged("verb", other)),
    };
    let changes: Vec<Changed> = match row.changes.as_str() {
        "" => Vec::new(),
        text => serde_json::from_str(text).map_err(|_| damaged("changes", text))?,
    };
    let (from, to) = (row.transitions_from, row.transitions_to);
    let (from, to) = if from <= to { (convert::count(from), convert::count(to)) } else { (0, 0) };
    Ok(v1::AuditEntry {
        seq: convert::count(row.seq),
        at: Some(convert::time(Timestamp(row.at))),
        principal: row.principal,
        method: row.method,
        object: row.object,
        result: result.into(),
        run_id: row.run_id.unwrap_or_default(),
        detail: row.detail,
        peer: row.peer,
        verb: verb.into(),
        server: row.server,
        code: row.code,
        changes: changes
            .into_iter()
            .map(|c| v1::AuditChange { field: c.field, old: c.old, new: c.new })
            .collect(),
        transitions_from: from,
        transitions_to: to,
    })
}
