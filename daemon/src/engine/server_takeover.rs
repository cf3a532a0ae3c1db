//! Takes a server from another installation: an operator's decision, carried out by the lane's next claim. Also what that claim finds.

use async_trait::async_trait;

use super::{Answer, Asked, Engine, LaneError, LaneHold, Refusal, targets};
use crate::domain::id::ServerId;
use crate::domain::server::Reach;
use crate::domain::step::StepId;
use crate::store::rows::ServerRow;
use crate::store::{Command, Unit, Wants};

/// How a server is to be taken from another installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Not while steps of the other one run there.
    Asked,
    /// Whatever runs there: it is ended before anything else starts.
    Forced,
}

impl Takeover {
    const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Forced => "forced",
        }
    }
}

struct TakeOverServer {
    asked: Asked,
    server: String,
    how: Takeover,
}

#[async_trait]
impl Command for TakeOverServer {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut server = targets::find_server(unit, &self.server).await?;
        if server.reach == Reach::Refused {
            server.reach = Reach::Ok;
            server.reach_detail.clear();
        }
        unit.update_server(&mut server).await?;
        unit.set_takeover(server.id, Some(self.how.word())).await?;
        let answer = Answer { server: Some(ServerRow::from(&server)), ..Answer::default() };
        let detail = self.how.word().to_owned();
        self.asked.keep_with(unit, &answer, server.name.clone(), detail).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

/// The claim has taken the server.
struct TakenOver {
    engine: Engine,
    hold: LaneHold,
    how: Takeover,
    living: Vec<StepId>,
}

#[async_trait]
impl Command for TakenOver {
    type Answer = ();
    type Refusal = LaneError;

    fn wants(&self, wants: &mut Wants) {
        wants.lane(self.hold.server);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), LaneError> {
        let server = self.hold.server;
        unit.hold_lane(server, self.engine.me(), self.hold.epoch).await?;
        for step in &self.living {
            unit.add_unresolved(
                server,
                *step,
                "it was started by the installation that had the server before",
            )
            .await?;
        }
        if self.how == Takeover::Forced {
            unit.abandon_unresolved(server).await?;
        }
        Ok(unit.set_takeover(server, None).await?)
    }
}

impl Engine {
    /// Lets the server's next claim take it from another installation; with `force` also while steps of that one run there.
    pub async fn take_over_server(
        &self,
        asked: Asked,
        server: String,
        force: bool,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        let how = if force { Takeover::Forced } else { Takeover::Asked };
        let command = TakeOverServer { asked, server, how };
        self.writer().commit(command).await
    }

    /// How the next claim of a server is to take it over, if it is.
    pub async fn takeover(&self, server: ServerId) -> Result<Option<Takeover>, LaneError> {
        let lane = self.store().read().await?.db().lane(server).await?;
        Ok(lane.and_then(|lane| lane.takeover).map(|word| match word.as_str() {
            "forced" => Takeover::Forced,
            _ => Takeover::Asked,
        }))
    }

    /// Stores that a server was taken over. Nothing exclusive starts there before these steps of the other installation have ended.
    pub async fn taken_over(
        &self,
        hold: LaneHold,
        how: Takeover,
        living: Vec<StepId>,
    ) -> Result<(), LaneError> {
        self.writer().commit(TakenOver { engine: self.clone(), hold, how, living }).await
    }
}
