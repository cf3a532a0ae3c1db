//! The service `Packages`.

use settled_proto::v1;
use settled_proto::v1::check_package_response::Problem;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, check, convert};
use crate::catalog;
use crate::engine::Refusal;

/// Definitions that one is checked beside, at most.
const OTHERS_MAX: usize = 64;

#[async_trait]
impl v1::packages_server::Packages for Api {
    async fn get(&self, request: Request<v1::GetPackageRequest>) -> Result<Response<v1::Package>, Status> {
        let name = request.into_inner().package;
        check::name("package", &name).map_err(|r| self.refuse(r))?;
        let found = self.engine().catalog().get(&name);
        let found = found.ok_or_else(|| self.refuse(Refusal::NotFound { what: "package", name }))?;
        Ok(Response::new(convert::package(&found)))
    }

    async fn list(
        &self,
        _request: Request<v1::ListPackagesRequest>,
    ) -> Result<Response<v1::ListPackagesResponse>, Status> {
        let packages = self.engine().catalog().iter().map(|d| convert::package_line(d)).collect();
        Ok(Response::new(v1::ListPackagesResponse { packages }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadPackagesRequest>,
    ) -> Result<Response<v1::ReloadPackagesResponse>, Status> {
        let (asked, _) = self.asked("Packages.Reload", request)?;
        let read = self.parts.steward.read_packages();
        let answer = self.engine().reload_packages(asked, read).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::ReloadPackagesResponse { changed: answer.ids }))
    }

    async fn check(
        &self,
        request: Request<v1::CheckPackageRequest>,
    ) -> Result<Response<v1::CheckPackageResponse>, Status> {
        let v1::CheckPackageRequest { source, others } = request.into_inner();
        for (field, text) in
            [("source", &source)].into_iter().chain(others.iter().map(|text| ("others", text)))
        {
            if text.len() > catalog::DEFINITION_BYTES_MAX {
                let message = format!("must have at most {} bytes", catalog::DEFINITION_BYTES_MAX);
                return Err(self.refuse(Refusal::field(field, message)));
            }
        }
        if others.len() > OTHERS_MAX {
            return Err(self.refuse(Refusal::field("others", format!("must be at most {OTHERS_MAX}"))));
        }
        let problems = self.parts.steward.check_package(&source, &others, &self.engine().catalog());
        let problem = |p: catalog::Problem| Problem { line: p.line, field: p.field, message: p.message };
        let problems = problems.into_iter().map(problem).collect();
        Ok(Response::new(v1::CheckPackageResponse { problems }))
    }
}
