//! The part of the service `Admin` that is about notifiers and what they are told.

use std::collections::BTreeSet;

use settled_proto::v1;
use zeroize::Zeroizing;

use super::pages::Page;
use super::{Api, check, convert};
use crate::domain::notice::{NoticeEvent, Wanted};
use crate::engine::{Asked, NewNotifier, Refusal, Way};
use crate::store::notices::DeliveryFilter;

impl Api {
    pub(super) async fn notifier_made(
        &self,
        asked: Asked,
        m: v1::CreateNotifierRequest,
    ) -> Result<v1::CreateNotifierResponse, Refusal> {
        let events = events(&m.events)?;
        let wanted = Wanted {
            events,
            labels: m.labels.into_iter().collect(),
            packages: m.packages.into_iter().collect(),
        };
        let secret = Zeroizing::new(m.secret);
        let way = match (m.url.is_empty(), m.recipients.is_empty()) {
            (false, true) => Way::Webhook { url: m.url, plain: m.plain, secret },
            (true, false) if secret.is_empty() && !m.plain => Way::Email { recipients: m.recipients },
            (true, false) => {
                return Err(Refusal::field(
                    "recipients",
                    "are written to by e-mail, which has no secret and no plain HTTP",
                ));
            }
            (true, true) => {
                return Err(Refusal::field(
                    "url",
                    "is missing: give a URL for a webhook, or recipients for e-mail",
                ));
            }
            (false, false) => {
                return Err(Refusal::field(
                    "recipients",
                    "cannot be given beside a URL: make a notifier for each",
                ));
            }
        };
        let new = NewNotifier { name: m.name, way, wanted };
        new.check()?;
        if matches!(new.way, Way::Email { .. }) && !self.parts.steward.can_mail() {
            return Err(Refusal::not_now(
                "there is no mail server: set smtp.host and smtp.from in the daemon's configuration, and restart it",
            ));
        }
        let row = self.engine().create_notifier(asked, new).await?;
        Ok(v1::CreateNotifierResponse { notifier: Some(convert::notifier(&row)?) })
    }

    pub(super) async fn notifiers(
        &self,
        _: v1::ListNotifiersRequest,
    ) -> Result<v1::ListNotifiersResponse, Refusal> {
        let rows = self.engine().store().read().await?.db().notifiers().await?;
        let notifiers = rows.iter().map(convert::notifier).collect::<Result<_, _>>()?;
        Ok(v1::ListNotifiersResponse { notifiers })
    }

    pub(super) async fn notifier(
        &self,
        m: v1::GetNotifierRequest,
    ) -> Result<v1::GetNotifierResponse, Refusal> {
        check::name("notifier", &m.notifier)?;
        let row = self.engine().store().read().await?.db().notifier(&m.notifier).await?;
        let row = row.ok_or(Refusal::NotFound { what: "notifier", name: m.notifier })?;
        Ok(v1::GetNotifierResponse { notifier: Some(convert::notifier(&row)?) })
    }

    pub(super) async fn notifier_tested(
        &self,
        asked: Asked,
        m: v1::TestNotifierRequest,
    ) -> Result<v1::TestNotifierResponse, Refusal> {
        check::name("notifier", &m.notifier)?;
        let row = self.engine().test_notifier(asked, m.notifier).await?;
        Ok(v1::TestNotifierResponse { delivery: Some(convert::delivery(&row)?) })
    }

    pub(super) async fn notifier_deleted(
        &self,
        asked: Asked,
        m: v1::DeleteNotifierRequest,
    ) -> Result<v1::DeleteNotifierResponse, Refusal> {
        check::name("notifier", &m.notifier)?;
        let row = self.engine().delete_notifier(asked, m.notifier).await?;
        Ok(v1::DeleteNotifierResponse { notifier: Some(convert::notifier(&row)?) })
    }

    pub(super) async fn deliveries(
        &self,
        m: v1::ListDeliveriesRequest,
    ) -> Result<v1::ListDeliveriesResponse, Refusal> {
        let list = v1::ListDeliveriesRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Admin.ListDeliveries", &list, m.page_size, &m.page_token)?;
        let state = convert::delivery_state_word(check::word("state", m.state)?).map(str::to_owned);
        check::words("notifier", &m.notifier, 63)?;
        let notifier = Some(m.notifier).filter(|name| !name.is_empty());
        let before = page.after.parse().ok();
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        if let Some(name) = &notifier
            && db.notifier(name).await?.is_none()
        {
            return Err(Refusal::NotFound { what: "notifier", name: name.clone() });
        }
        let filter = DeliveryFilter { notifier, state };
        let rows = db.deliveries(&filter, before, page.limit()).await?;
        let keyed = rows.iter().map(|row| Ok((row.seq.to_string(), convert::delivery(row)?)));
        let (deliveries, next_page_token) = page.cut_keyed(keyed.collect::<Result<_, Refusal>>()?);
        Ok(v1::ListDeliveriesResponse { deliveries, next_page_token })
    }
}

/// What is asked for; empty: what the engine takes it for.
fn events(numbers: &[i32]) -> Result<BTreeSet<NoticeEvent>, Refusal> {
    let event = |number: &i32| {
        let event =
            convert::event_of(check::word("events", *number)?).filter(|event| event.can_be_asked_for());
        event.ok_or_else(|| Refusal::field("events", "name one that cannot be asked for"))
    };
    numbers.iter().map(event).collect()
}
