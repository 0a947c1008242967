//! Users in MongoDB. Compiled in CI, and not run: its server is not in Debian.

use mongodb::Collection;
use mongodb::bson::{doc, oid::ObjectId};
use mongodb::error::Error;
use mongodb::options::{Collation, CollationStrength};
use poem_password_reset::store::{Swap, UserStore};
use poem_password_reset::{PasswordHash, StoredUser};
use serde::Deserialize;

/// A document of the collection.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    #[serde(rename = "_id")]
    id: ObjectId,
    email: String,
    username: Option<String>,
    active: bool,
    password_hash: Option<String>,
}

/// Users in a collection. For fast look-ups, create an index on `email` with the same [collation](ignores_case).
#[derive(Clone)]
pub struct MongoDbUsers(pub Collection<User>);

impl From<User> for StoredUser {
    fn from(user: User) -> Self {
        StoredUser::new(user.id.to_hex(), user.email, user.password_hash)
            .with_username(user.username)
            .with_active(user.active)
    }
}

/// Returns the collation of look-ups: it ignores case, and does not ignore accents.
pub fn ignores_case() -> Collation {
    Collation::builder().locale("en").strength(CollationStrength::Secondary).build()
}

/// Reads an id. A text that is not an id belongs to no user; it is not an error.
fn read_id(text: &str) -> Option<ObjectId> {
    // The digits may be in upper case, which is another text and not the id.
    ObjectId::parse_str(text).ok().filter(|id| id.to_hex() == text)
}

impl UserStore for MongoDbUsers {
    type Error = Error;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Error> {
        let mut cursor = self.0.find(doc! { "email": email }).collation(ignores_case()).await?;
        let mut users = Vec::new();
        while cursor.advance().await? {
            users.push(cursor.deserialize_current()?.into());
        }
        Ok(users)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Error> {
        let Some(id) = read_id(id) else { return Ok(None) };
        Ok(self.0.find_one(doc! { "_id": id }).await?.map(StoredUser::from))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, Error> {
        let Some(id) = read_id(user.id()) else { return Ok(Swap::Stale) };
        // One operation that compares and writes. `null` also matches a document without the field.
        let expected = doc! {
            "_id": id,
            "email": user.email(),
            "active": true,
            "password_hash": user.password_hash().map(PasswordHash::expose),
        };
        let done = self.0.update_one(expected, doc! { "$set": { "password_hash": new_hash.expose() } }).await?;
        Ok(Swap::of_rows(done.matched_count))
    }
}
