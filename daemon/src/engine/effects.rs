//! Writes a changed run together with what the change means for its resource or server.

use super::{Engine, Refusal};
use crate::domain::consequence::{self, After};
use crate::domain::operation::Operation;
use crate::domain::resource::Resource;
use crate::domain::run::{Run, Subject};
use crate::store::Unit;

impl Engine {
    /// Writes the run (its version is the guard), then its resource or server as the domain says. `resource`: as the caller has loaded it.
    /// Answers the resource as it is then; `None` when it is gone, or the run has none.
    pub(super) async fn write_run(
        &self,
        unit: &mut Unit<'_>,
        run: &mut Run,
        resource: Option<Resource>,
    ) -> Result<Option<Resource>, Refusal> {
        unit.update_run(run).await?;
        match run.subject {
            Subject::Server => {
                self.write_server(unit, run).await?;
                Ok(None)
            }
            Subject::Resource { id, .. } if run.keeps_record() => {
                let resource = match resource {
                    Some(resource) => Some(resource),
                    None => unit.resource(id).await?,
                };
                let Some(resource) = resource else { return Ok(None) };
                let resource = self.write_resource(unit, run, resource).await?;
                if run.verdict().is_some() {
                    self.keep_while_enrolled(unit, resource).await
                } else {
                    Ok(resource)
                }
            }
            Subject::Resource { .. } => Ok(resource),
        }
    }

    async fn write_resource(
        &self,
        unit: &mut Unit<'_>,
        run: &Run,
        resource: Resource,
    ) -> Result<Option<Resource>, Refusal> {
        match consequence::for_resource(run, resource) {
            After::Same(resource) => Ok(Some(resource)),
            After::Changed(mut resource) => {
                unit.update_resource(&mut resource).await?;
                if run.operation == Operation::Update && run.verdict().is_some() {
                    Self::let_go(unit, run, &resource).await?;
                }
                Ok(Some(resource))
            }
            After::Gone(mut resource) => {
                unit.delete_resource(&mut resource).await?;
                Ok(None)
            }
        }
    }

    /// Lets go of what the resource does not use any more: what an update has replaced, or what one has asked for in vain.
    async fn let_go(unit: &mut Unit<'_>, run: &Run, resource: &Resource) -> Result<(), Refusal> {
        if run.succeeded() {
            unit.drop_old_keys(resource).await?;
            unit.drop_former_secrets(&resource.id.to_string()).await?;
        } else if !run.payload {
            unit.drop_old_keys(resource).await?;
            unit.put_back_secrets(resource, run.accepted_at).await?;
        }
        Ok(())
    }

    async fn write_server(&self, unit: &mut Unit<'_>, run: &Run) -> Result<(), Refusal> {
        let Some(server) = unit.server(run.server).await? else { return Ok(()) };
        if let Some(mut server) = consequence::for_server(run, &server) {
            unit.update_server(&mut server).await?;
        }
        Ok(())
    }
}
