//! A copy of the store on its way to whoever asked for it, for the service `Admin`.

use futures::StreamExt as _;
use settled_proto::v1;
use settled_proto::v1::backup_response::Part;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::asked::{Named, asked_anew};
use super::reason::Reason;
use super::stream::{Answers, End, until_stopped};
use super::{Api, convert};
use crate::auth::Verb;
use crate::store::Backup;

/// Where the parts of a copy go.
type Parts = mpsc::Sender<Result<Part, Status>>;

/// Why a part did not go to its reader; without a status nobody is there who could hear one.
type NotTaken = Option<Status>;

impl Api {
    /// Makes a copy, and begins to send it. It is made before the first word of the answer, so that whoever gets none is told why as in any
    /// other call.
    pub(super) async fn backed_up<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Answers<v1::BackupResponse>, Status> {
        let asked = asked_anew("Admin.Backup", request, Named::object("store"))?;
        let (principal, taken_at) = (asked.principal.clone(), self.engine().clock().now());
        let mut over = Box::pin(self.sight(request)?.ends(Verb::Administer, None));
        let mut end = End::of(&self.parts);
        let backup = tokio::select! {
            biased;
            status = end.comes() => return Err(status),
            status = &mut over => return Err(status),
            backup = self.engine().backup(asked) => backup.map_err(|refusal| self.refuse(refusal))?,
        };
        let head = v1::BackupHead {
            size_bytes: backup.bytes,
            position: Some(v1::Position {
                generation: backup.generation.clone(),
                seq: convert::count(backup.seq),
            }),
            taken_at: Some(convert::time(taken_at)),
        };
        let (to, parts) = mpsc::channel(1);
        tokio::spawn(self.clone().send(backup, head, principal, to));
        let parts = ReceiverStream::new(parts).map(|part| Ok(v1::BackupResponse { part: Some(part?) }));
        Ok(until_stopped(parts, &self.parts, over))
    }

    /// Sends a copy, in a task of its own: a reader that stands still would keep it for ever.
    async fn send(self, backup: Backup, head: v1::BackupHead, principal: String, to: Parts) {
        let (bytes, seq) = (backup.bytes, backup.seq);
        let last = match self.hand_over(backup, head, &to).await {
            Ok(end) => Ok(Part::End(end)),
            Err(Some(status)) => Err(status),
            Err(None) => return,
        };
        let is_whole = last.is_ok();
        // The copy is gone by now.
        if to.send(last).await.is_ok() && is_whole {
            tracing::info!(principal, bytes, seq, "a backup was sent");
        }
    }

    async fn hand_over(
        &self,
        mut backup: Backup,
        head: v1::BackupHead,
        to: &Parts,
    ) -> Result<v1::BackupEnd, NotTaken> {
        let mut digest = Sha256::new();
        self.hand(Part::Head(head), to).await?;
        while let Some(data) = backup.read().await.map_err(|error| self.refuse(error))? {
            digest.update(&data);
            self.hand(Part::Data(data), to).await?;
        }
        Ok(v1::BackupEnd { sha256: hex::encode(digest.finalize()) })
    }

    async fn hand(&self, part: Part, to: &Parts) -> Result<(), NotTaken> {
        let (clock, patience) = (self.engine().clock(), self.parts.limits.body);
        tokio::select! {
            biased;
            taken = to.send(Ok(part)) => taken.map_err(|_| None),
            () = clock.sleep_until(clock.monotonic() + patience) => Err(Some(Reason::SlowReader.status(format!(
                "nothing of the backup was read for {} s (limits.body_s), so it was let go of: ask again",
                patience.as_secs()
            )))),
        }
    }
}
