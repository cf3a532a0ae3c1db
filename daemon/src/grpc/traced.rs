//! Tells the traces of calls that ask for runs, with the caller's own span when it names one (`traceparent`).
//!
//! Which runs a call has asked for is noted where its answer is put together, in the same task.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use super::around::{Services, around};
use super::methods;
use crate::clock::Clock;
use crate::domain::id::RunId;
use crate::traces::{Call, Caller, Traces};

/// Runs of one call that are told of: those that it requires come with it.
const RUNS_MAX: usize = 64;

tokio::task_local! {
    /// The runs that this call has asked for.
    static ASKED_FOR: Arc<Mutex<Vec<RunId>>>;
}

/// The call that is being answered has asked for this run. Nothing where nobody traces.
pub(super) fn asked_for(run: &str) {
    let noted = ASKED_FOR.try_with(|runs| {
        let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() < RUNS_MAX
            && let Ok(run) = run.parse::<RunId>()
        {
            runs.push(run);
        }
    });
    // Without traces there is nowhere to note it.
    let _ = noted;
}

/// The services, traced.
pub(super) fn traced(inner: impl Services, traces: Traces, clock: Arc<dyn Clock>) -> impl Services {
    around(inner, (traces, clock), |request, inner, (traces, clock)| async move {
        let method = methods::at(request.uri().path());
        let Some(method) = method.filter(|_| traces.is_on()) else { return inner.answer(request).await };
        let caller = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let (caller, began) = (caller.and_then(Caller::read), clock.now());
        let runs = Arc::<Mutex<Vec<RunId>>>::default();
        let answer = ASKED_FOR.scope(Arc::clone(&runs), inner.answer(request)).await;
        let runs = std::mem::take(&mut *runs.lock().unwrap_or_else(PoisonError::into_inner));
        if !runs.is_empty() {
            // An answer has its status at its end, a refusal at once.
            let code = Status::from_header_map(answer.headers()).map_or(0, |status| status.code() as i32);
            traces.asked(Call { method: &method.name, runs, began, ended: clock.now(), code, caller });
        }
        answer
    })
}
