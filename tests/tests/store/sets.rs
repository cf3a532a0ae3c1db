//! Commands of one batch share what is loaded and what is written, and each is answered as if it were alone.

use async_trait::async_trait;
use futures::future::join_all;
use settled::domain::resource::{Resource, ResourceStatus};
use settled::domain::server::Server;
use settled::store::{Command, StoreError, Unit, Wants};

use crate::fixture::{House, new_resource, new_run};

/// Installs a resource unless its name is taken or the queue of its server is full, as the engine does.
struct Claim {
    resource: Resource,
    server: Server,
    queue_max: i64,
    clock: std::sync::Arc<dyn settled::clock::Clock>,
}

#[async_trait]
impl Command for Claim {
    type Answer = bool;
    type Refusal = StoreError;

    fn wants(&self, wants: &mut Wants) {
        wants.path(&self.server.name, &self.resource.package, &self.resource.name);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, StoreError> {
        let Resource { server, package, name, .. } = &self.resource;
        if unit.server_by_name(&self.server.name).await?.is_none()
            || unit.resource_by_path(*server, package, name).await?.is_some()
            || unit.queue_is_full(*server, self.queue_max).await?
        {
            return Ok(false);
        }
        let mut resource = self.resource.clone();
        let mut run = new_run(&*self.clock, &resource);
        resource.open_run = Some(run.id);
        unit.insert_resource(&mut resource).await?;
        unit.insert_run(&mut run).await?;
        Ok(true)
    }
}

async fn claims(house: &House, server: &Server, names: &[String], queue_max: i64) -> usize {
    let claim = |name: &String| {
        let resource = new_resource(&*house.clock, server, name);
        let (server, clock) = (server.clone(), std::sync::Arc::clone(&house.clock));
        house.opened.writer.commit(Claim { resource, server, queue_max, clock })
    };
    let answers = join_all(names.iter().map(claim)).await;
    answers.into_iter().filter(|accepted| *accepted.as_ref().unwrap()).count()
}

pub(crate) async fn a_name_is_taken_once_in_a_batch(house: House) {
    let server = house.server("web1").await;
    let names: Vec<_> = (0..90).map(|n| format!("r{}", n % 30)).collect();
    assert_eq!(claims(&house, &server, &names, 1_000).await, 30);
}

pub(crate) async fn a_queue_is_full_at_its_limit_in_a_batch(house: House) {
    let server = house.server("web1").await;
    let names: Vec<_> = (0..90).map(|n| format!("r{n}")).collect();
    assert_eq!(claims(&house, &server, &names, 17).await, 17);
    assert_eq!(house.read().await.db().queue(server.id, true, 100).await.unwrap().len(), 17);
}

/// Every third command has seen an older version; those around it are stored.
pub(crate) async fn a_stale_row_in_a_set_meets_its_own_command(house: House) {
    let server = house.server("web1").await;
    let made = join_all((0..40).map(|n| {
        let (house, server) = (&house, &server);
        async move { house.resource(server, &format!("r{n}")).await }
    }))
    .await;
    let storm = made.into_iter().enumerate().map(|(n, mut resource)| {
        let house = &house;
        if n % 3 == 0 {
            resource.version += 1;
        }
        resource.status = ResourceStatus::Failed;
        async move {
            let id = resource.id;
            let answer = house
                .write(move |unit| {
                    let mut resource = resource.clone();
                    Box::pin(async move { unit.update_resource(&mut resource).await })
                })
                .await;
            (n, id, answer)
        }
    });
    for (n, id, answer) in join_all(storm).await {
        let stored = house.read().await.db().resource(id).await.unwrap().unwrap();
        if n % 3 == 0 {
            assert!(matches!(answer, Err(StoreError::Conflict)), "command {n}: {answer:?}");
            assert_eq!(stored.status, ResourceStatus::Pending, "command {n}");
        } else {
            assert!(answer.is_ok(), "command {n}: {answer:?}");
            assert_eq!(stored.status, ResourceStatus::Failed, "command {n}");
        }
    }
}

/// What a command asks the connection itself shows what it and its neighbours have written.
pub(crate) async fn a_query_sees_what_is_not_written_yet(house: House) {
    let server = house.server("web1").await;
    let resource = new_resource(&*house.clock, &server, "blog");
    let run = new_run(&*house.clock, &resource);
    let queued = house
        .write(move |unit| {
            let (mut resource, mut run) = (resource.clone(), run.clone());
            Box::pin(async move {
                unit.insert_resource(&mut resource).await?;
                unit.insert_run(&mut run).await?;
                let queue = unit.db().await?.queue(run.server, true, 10).await?;
                Ok((run.id, queue))
            })
        })
        .await;
    let (id, queue) = queued.unwrap();
    assert_eq!(queue.iter().map(|run| run.id).collect::<Vec<_>>(), [id]);
}

/// The second write of an object follows the first, and each has its transition.
pub(crate) async fn an_object_can_be_written_twice_in_a_unit(house: House) {
    let server = house.server("web1").await;
    let resource = house.resource(&server, "blog").await;
    let (before, _) = house.numbers().await;
    let id = resource.id;
    house
        .write(move |unit| {
            let mut resource = resource.clone();
            Box::pin(async move {
                resource.status = ResourceStatus::Failed;
                unit.update_resource(&mut resource).await?;
                resource.status = ResourceStatus::Active;
                unit.update_resource(&mut resource).await
            })
        })
        .await
        .unwrap();
    let stored = house.read().await.db().resource(id).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.version, stored.seq), (ResourceStatus::Active, 3, before + 2));
    assert_eq!(house.numbers().await.0, before + 2);
}
