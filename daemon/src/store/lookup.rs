//! Where a named object can be looked up: by a reader, or by the unit of a command, which also knows what is not written yet.

use super::{Db, StoreError, Unit};
use crate::domain::id::{ResourceId, ServerId};
use crate::domain::resource::Resource;
use crate::domain::server::Server;

/// Finds objects by what people call them.
pub trait Lookup {
    /// A server by id.
    fn server(&mut self, id: ServerId) -> impl Future<Output = Result<Option<Server>, StoreError>> + Send;

    /// A server by name.
    fn server_by_name(
        &mut self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Server>, StoreError>> + Send;

    /// A resource by id.
    fn resource(&mut self, id: ResourceId)
    -> impl Future<Output = Result<Option<Resource>, StoreError>> + Send;

    /// A resource by server, package and name.
    fn resource_by_path(
        &mut self,
        server: ServerId,
        package: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Resource>, StoreError>> + Send;
}

macro_rules! looks_up {
    ($place:ty) => {
        impl Lookup for $place {
            async fn server(&mut self, id: ServerId) -> Result<Option<Server>, StoreError> {
                <$place>::server(self, id).await
            }

            async fn server_by_name(&mut self, name: &str) -> Result<Option<Server>, StoreError> {
                <$place>::server_by_name(self, name).await
            }

            async fn resource(&mut self, id: ResourceId) -> Result<Option<Resource>, StoreError> {
                <$place>::resource(self, id).await
            }

            async fn resource_by_path(
                &mut self,
                server: ServerId,
                package: &str,
                name: &str,
            ) -> Result<Option<Resource>, StoreError> {
                <$place>::resource_by_path(self, server, package, name).await
            }
        }
    };
}

looks_up!(Db<'_>);
looks_up!(Unit<'_>);
