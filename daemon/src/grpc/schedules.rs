//! The service `Schedules`.

use std::time::Duration;

use prost_types::Timestamp as WireTime;
use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::pages::Page;
use super::{Api, check, convert, traced};
use crate::domain::id::ScheduleId;
use crate::domain::schedule::Fate;
use crate::domain::time::Timestamp;
use crate::engine::schedules::{TIMES_MAX, find_schedule};
use crate::engine::{Answer, EditSchedule, Refusal};
use crate::store::schedules::ScheduleFilter;

/// Due times that are told when nobody says how many.
const TIMES_DEFAULT: u32 = 10;

impl Api {
    fn schedule_of(&self, answer: Answer) -> Result<v1::Schedule, Status> {
        let row = answer.schedule.ok_or_else(|| Refusal::Internal("no schedule in the answer".to_owned()));
        let converted = row.and_then(|row| Ok(convert::schedule_row(*row)?));
        converted.map_err(|r| self.refuse(r))
    }

    fn named_schedule(&self, name: &str) -> Result<(), Status> {
        check::name("schedule", name).map_err(|r| self.refuse(r))
    }

    async fn list_schedules(
        &self,
        m: v1::ListSchedulesRequest,
    ) -> Result<v1::ListSchedulesResponse, Refusal> {
        let list = v1::ListSchedulesRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Schedules.List", &list, m.page_size, &m.page_token)?;
        let filter = ScheduleFilter { paused: m.paused, built_in: m.built_in };
        let mut reader = self.engine().store().read().await?;
        let rows = reader.db().schedules(filter, &page.after, page.limit()).await?;
        let rows = rows.iter().map(convert::schedule).collect();
        let (schedules, next_page_token) = page.cut(rows, |s: &v1::Schedule| &s.name);
        Ok(v1::ListSchedulesResponse { schedules, next_page_token })
    }

    async fn occurrences_of(
        &self,
        m: v1::ListOccurrencesRequest,
    ) -> Result<v1::ListOccurrencesResponse, Refusal> {
        let fate = convert::fate_asked(check::word("fate", m.fate)?);
        let list = v1::ListOccurrencesRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Schedules.ListOccurrences", &list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let id = match (find_schedule(&mut db, &m.schedule).await, m.schedule.parse::<ScheduleId>()) {
            (Ok(schedule), _) => schedule.id,
            (Err(Refusal::NotFound { .. }), Ok(id)) => id,
            (Err(refusal), _) => return Err(refusal),
        };
        let before = Timestamp(page.after.parse().unwrap_or(i64::MAX));
        let rows = db.occurrences(id, fate.map(Fate::as_str), before, page.limit()).await?;
        let keys: Vec<_> = rows.iter().map(|row| row.due.0.to_string()).collect();
        let rows: Vec<_> = rows.iter().map(convert::occurrence).collect();
        let (occurrences, next_page_token) = page.cut_by(rows, &keys);
        Ok(v1::ListOccurrencesResponse { occurrences, next_page_token })
    }

    async fn create_schedule(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<v1::Schedule, Status> {
        let (asked, m) = self.asked("Schedules.Create", request)?;
        let name = m.name.clone();
        let settings = settings_of_new(m).map_err(|r| self.refuse(r))?;
        let answer = self.engine().add_schedule(asked, name, settings).await.map_err(|r| self.refuse(r))?;
        self.schedule_of(answer)
    }

    async fn update_schedule(
        &self,
        request: Request<v1::UpdateScheduleRequest>,
    ) -> Result<v1::Schedule, Status> {
        let (asked, m) = self.asked("Schedules.Update", request)?;
        self.named_schedule(&m.schedule)?;
        let name = m.schedule.clone();
        let edit = edit_asked(m).map_err(|r| self.refuse(r))?;
        let answer = self.engine().edit_schedule(asked, name, edit).await.map_err(|r| self.refuse(r))?;
        self.schedule_of(answer)
    }
}

fn span(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn moment(field: &str, at: Option<WireTime>) -> Result<Option<Timestamp>, Refusal> {
    let Some(at) = at else { return Ok(None) };
    let micros = at.seconds.checked_mul(1_000_000).and_then(|us| us.checked_add(i64::from(at.nanos) / 1_000));
    micros.map(|us| Some(Timestamp(us))).ok_or_else(|| Refusal::field(field, "is no time"))
}

fn settings_of_new(m: v1::CreateScheduleRequest) -> Result<EditSchedule, Refusal> {
    Ok(EditSchedule {
        cron: Some(m.cron),
        time_zone: Some(m.time_zone),
        target: m.target.map(convert::target_asked).transpose()?,
        overlap: convert::overlap_asked(check::word("overlap", m.overlap)?),
        missed: convert::missed_asked(check::word("missed", m.missed)?),
        missed_within: Some(m.missed_within_s).filter(|s| *s > 0).map(span),
        jitter: Some(span(m.jitter_s)),
        starts_at: Some(moment("starts_at", m.starts_at)?),
        ends_at: Some(moment("ends_at", m.ends_at)?),
    })
}

fn edit_asked(m: v1::UpdateScheduleRequest) -> Result<EditSchedule, Refusal> {
    let bound = |field: &str, at, clear| match (moment(field, at)?, clear) {
        (Some(_), true) => Err(Refusal::field(field, "is given and cleared at once")),
        (Some(at), false) => Ok(Some(Some(at))),
        (None, true) => Ok(Some(None)),
        (None, false) => Ok(None),
    };
    Ok(EditSchedule {
        cron: m.cron,
        time_zone: m.time_zone,
        target: m.target.map(convert::target_asked).transpose()?,
        overlap: convert::overlap_asked(check::word("overlap", m.overlap)?),
        missed: convert::missed_asked(check::word("missed", m.missed)?),
        missed_within: m.missed_within_s.map(span),
        jitter: m.jitter_s.map(span),
        starts_at: bound("starts_at", m.starts_at, m.clear_starts_at)?,
        ends_at: bound("ends_at", m.ends_at, m.clear_ends_at)?,
    })
}

#[async_trait]
impl v1::schedules_server::Schedules for Api {
    async fn create(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        self.create_schedule(request).await.map(Response::new)
    }

    async fn get(&self, request: Request<v1::GetScheduleRequest>) -> Result<Response<v1::Schedule>, Status> {
        let name = request.into_inner().schedule;
        self.named_schedule(&name)?;
        let mut reader = self.engine().store().read().await.map_err(|e| self.refuse(e))?;
        let found = find_schedule(&mut reader.db(), &name).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(convert::schedule(&found)))
    }

    async fn list(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        self.list_schedules(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        self.update_schedule(request).await.map(Response::new)
    }

    async fn pause(
        &self,
        request: Request<v1::PauseScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (asked, m) = self.asked("Schedules.Pause", request)?;
        self.named_schedule(&m.schedule)?;
        let answer = self.engine().pause_schedule(asked, m.schedule).await.map_err(|r| self.refuse(r))?;
        self.schedule_of(answer).map(Response::new)
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (asked, m) = self.asked("Schedules.Resume", request)?;
        self.named_schedule(&m.schedule)?;
        let answer = self.engine().resume_schedule(asked, m.schedule).await.map_err(|r| self.refuse(r))?;
        self.schedule_of(answer).map(Response::new)
    }

    async fn fire(
        &self,
        request: Request<v1::FireScheduleRequest>,
    ) -> Result<Response<v1::FireScheduleResponse>, Status> {
        let (asked, m) = self.asked("Schedules.Fire", request)?;
        self.named_schedule(&m.schedule)?;
        let mut answer = self.engine().fire_schedule(asked, m.schedule).await.map_err(|r| self.refuse(r))?;
        let occurrence = answer.occurrence.take().map(|row| convert::occurrence_row(*row));
        let occurrence = occurrence.transpose().map_err(|e| self.refuse(e))?;
        occurrence.iter().flat_map(|occurrence| &occurrence.run_ids).for_each(|run| traced::asked_for(run));
        let schedule = Some(self.schedule_of(answer)?);
        Ok(Response::new(v1::FireScheduleResponse { schedule, occurrence }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::Schedule>, Status> {
        let (asked, m) = self.asked("Schedules.Delete", request)?;
        self.named_schedule(&m.schedule)?;
        let answer = self.engine().remove_schedule(asked, m.schedule).await.map_err(|r| self.refuse(r))?;
        self.schedule_of(answer).map(Response::new)
    }

    async fn list_occurrences(
        &self,
        request: Request<v1::ListOccurrencesRequest>,
    ) -> Result<Response<v1::ListOccurrencesResponse>, Status> {
        let m = request.into_inner();
        self.named_schedule(&m.schedule)?;
        self.occurrences_of(m).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn next_times(
        &self,
        request: Request<v1::NextTimesRequest>,
    ) -> Result<Response<v1::NextTimesResponse>, Status> {
        let m = request.into_inner();
        self.named_schedule(&m.schedule)?;
        let count = if m.count == 0 { TIMES_DEFAULT } else { m.count } as usize;
        if count > TIMES_MAX {
            let refusal =
                Refusal::field("count", format!("must be 1 to {TIMES_MAX}, or 0 for {TIMES_DEFAULT}"));
            return Err(self.refuse(refusal));
        }
        let times = self.engine().next_times(&m.schedule, count).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::NextTimesResponse { times: times.into_iter().map(convert::time).collect() }))
    }
}
