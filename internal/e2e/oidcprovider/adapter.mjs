// An adapter over a plain Map. The provider's own keeps 1,000 entries and then drops the oldest, grants in use included.
// Expiry needs nothing here: the provider reads it from each payload.
const grantable = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode']);

export function adapterOver(store) {
  return class {
    constructor(model) {
      this.model = model;
    }

    async upsert(id, payload) {
      store.set(`${this.model}:${id}`, payload);
    }

    async find(id) {
      return store.get(`${this.model}:${id}`);
    }

    async findByUid(uid) {
      return this.#where((payload) => payload.uid === uid);
    }

    async findByUserCode(userCode) {
      return this.#where((payload) => payload.userCode === userCode);
    }

    async consume(id) {
      store.get(`${this.model}:${id}`).consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      store.delete(`${this.model}:${id}`);
    }

    async revokeByGrantId(grantId) {
      for (const [key, payload] of store) {
        if (payload.grantId === grantId && grantable.has(key.split(':', 1)[0])) store.delete(key);
      }
    }

    #where(match) {
      for (const [key, payload] of store) {
        if (key.startsWith(`${this.model}:`) && match(payload)) return payload;
      }
      return undefined;
    }
  };
}
