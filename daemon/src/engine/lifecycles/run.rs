//! Run: what is due now is worked off, also of lifecycles that are worked off by hand only. It is a mark in the record, so a daemon that
//! dies on the way changes nothing.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::LIFECYCLES_MAX;
use crate::domain::lifecycle::Lifecycle;
use crate::store::{Command, Unit, Wants};

struct RunLifecycles {
    engine: Engine,
    asked: Asked,
    /// One; all when it is empty.
    code: String,
}

impl Engine {
    /// Works off what is due; answers the codes of the lifecycles that do so, in `ids`.
    pub async fn run_lifecycles(&self, asked: Asked, code: String) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(RunLifecycles { engine: self.clone(), asked, code }).await
    }
}

#[async_trait]
impl Command for RunLifecycles {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let now = unit.now();
        let db = unit.db().await?;
        let marked = |l: &Lifecycle| Lifecycle { run_at: Some(now), ..l.clone() };
        let lifecycles = if self.code.is_empty() {
            let all = db.lifecycles("", LIFECYCLES_MAX).await?;
            all.into_iter().filter(|lifecycle| marked(lifecycle).rests(now, now).is_none()).collect()
        } else {
            let lifecycle = self.engine.lifecycle(db, &self.code).await?;
            if let Some(rest) = marked(&lifecycle).rests(now, now) {
                return Err(Refusal::not_now(format!("nothing of `{}` is worked off: {rest}", self.code)));
            }
            vec![lifecycle]
        };
        for lifecycle in &lifecycles {
            unit.update_lifecycle(&mut marked(lifecycle)).await?;
        }
        let ids = lifecycles.into_iter().map(|lifecycle| lifecycle.code).collect();
        let answer = Answer { ids, ..Answer::default() };
        let object = if self.code.is_empty() { "all lifecycles" } else { &self.code };
        self.asked.keep(unit, &answer, object.to_owned()).await?;
        Ok(answer)
    }
}
