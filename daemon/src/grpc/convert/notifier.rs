//! Notifiers, without their secrets, and what they are told.

use settled_proto::v1;

use super::{time, words};
use crate::domain::notice::{Notice, NoticeEvent};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::rows::{DeliveryRow, NotifierRow};

/// A notifier.
pub(in crate::grpc) fn notifier(row: &NotifierRow) -> Result<v1::Notifier, StoreError> {
    let wanted = row.wanted()?;
    Ok(v1::Notifier {
        id: row.id.clone(),
        name: row.name.clone(),
        url: row.url.clone(),
        recipients: row.recipients()?,
        events: wanted.events.iter().map(|event| event_word(*event).into()).collect(),
        labels: wanted.labels.into_iter().collect(),
        packages: wanted.packages.into_iter().collect(),
        principal: row.principal.clone(),
        created_at: Some(time(Timestamp(row.created_at))),
    })
}

/// What a notifier is told.
pub(in crate::grpc) fn delivery(row: &DeliveryRow) -> Result<v1::Delivery, StoreError> {
    let Notice { event, server, package, resource, operation, run, reason, text, detail } = row.notice()?;
    let waits = row.ended_at.is_none();
    Ok(v1::Delivery {
        id: row.id(),
        notifier: row.notifier.clone(),
        event: event_word(event).into(),
        text,
        detail,
        server,
        package: package.unwrap_or_default(),
        resource: resource.unwrap_or_default(),
        operation: operation.map(|operation| operation.to_string()).unwrap_or_default(),
        run_id: run.map(|run| run.to_string()).unwrap_or_default(),
        reason: reason.map_or(v1::Reason::Unspecified, words::reason).into(),
        state: state(&row.state).into(),
        attempts: u32::try_from(row.attempt).unwrap_or(u32::MAX),
        next_try: (waits && row.taken_by.is_none()).then(|| time(Timestamp(row.due))),
        last_error: row.last_error.clone(),
        created_at: Some(time(Timestamp(row.created_at))),
        ended_at: row.ended_at.map(|at| time(Timestamp(at))),
    })
}

fn state(word: &str) -> v1::DeliveryState {
    match word {
        "waiting" => v1::DeliveryState::Waiting,
        "sent" => v1::DeliveryState::Sent,
        "dead" => v1::DeliveryState::Dead,
        _ => v1::DeliveryState::Unspecified,
    }
}

/// The stored word; `None`: any.
pub(in crate::grpc) fn delivery_state_word(state: v1::DeliveryState) -> Option<&'static str> {
    match state {
        v1::DeliveryState::Unspecified => None,
        v1::DeliveryState::Waiting => Some("waiting"),
        v1::DeliveryState::Sent => Some("sent"),
        v1::DeliveryState::Dead => Some("dead"),
    }
}

fn event_word(event: NoticeEvent) -> v1::NoticeEvent {
    match event {
        NoticeEvent::RunSucceeded => v1::NoticeEvent::RunSucceeded,
        NoticeEvent::RunFailed => v1::NoticeEvent::RunFailed,
        NoticeEvent::RunBlocked => v1::NoticeEvent::RunBlocked,
        NoticeEvent::RunCancelled => v1::NoticeEvent::RunCancelled,
        NoticeEvent::RunNeverStarted => v1::NoticeEvent::RunNeverStarted,
        NoticeEvent::RunStuck => v1::NoticeEvent::RunStuck,
        NoticeEvent::ServerUnreachable => v1::NoticeEvent::ServerUnreachable,
        NoticeEvent::ServerRefused => v1::NoticeEvent::ServerRefused,
        NoticeEvent::ServerBack => v1::NoticeEvent::ServerBack,
        NoticeEvent::LaneHeld => v1::NoticeEvent::LaneHeld,
        NoticeEvent::LaneFreed => v1::NoticeEvent::LaneFreed,
        NoticeEvent::ResourceDrifted => v1::NoticeEvent::ResourceDrifted,
        NoticeEvent::ResourceAgrees => v1::NoticeEvent::ResourceAgrees,
        NoticeEvent::Test => v1::NoticeEvent::Test,
    }
}

/// The event that is asked for.
pub(in crate::grpc) fn event_of(event: v1::NoticeEvent) -> Option<NoticeEvent> {
    NoticeEvent::ALL.iter().copied().find(|known| event_word(*known) == event)
}
