//! Steps.

use settled_proto::v1;

use super::{grounds, time, words};
use crate::store::rows::StepRecord;

/// One try of a step.
pub(in crate::grpc) fn step(s: &StepRecord) -> v1::Step {
    v1::Step {
        id: s.id.to_string(),
        title: s.title.clone(),
        index: s.id.step,
        attempt: s.id.attempt,
        r#try: s.id.try_no,
        state: words::step_state(s.state).into(),
        exit_code: s.exit_code,
        why: s.why.clone(),
        started_at: Some(time(s.started_at)),
        ended_at: s.ended_at.map(time),
        output_bytes: s.output_bytes,
        truncated: s.truncated,
        output_bytes_max: s.output_bytes_max,
        late: s.late.as_ref().map(grounds::late),
    }
}
