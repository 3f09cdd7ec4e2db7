import { type FormEvent, useState } from 'react';
import { Links } from './links.tsx';
import { AUTH_MODE } from './session.ts';

interface SignInProps {
  /** Why the last credential was refused; null for none. */
  readonly refusal: string | null;
  onSignIn(credential: string): void;
}

/** The sign-in form: by address in development, by token otherwise. */
export function SignIn({ refusal, onSignIn }: SignInProps) {
  const [value, setValue] = useState('');
  const [role, setRole] = useState('');

  function submit(event: FormEvent) {
    event.preventDefault();
    const given = value.trim();
    if (given) onSignIn(role ? `${given}:${role}` : given);
  }

  return (
    <main className="welcome">
      <h1>Kredichat</h1>
      <p>Customers, sellers and a bank talk about one document configuration at a time.</p>
      <form className="card" onSubmit={submit}>
        {refusal !== null && (
          <p className="refusal" role="alert">
            The server did not accept that: {refusal}
          </p>
        )}
        {AUTH_MODE === 'dev' ? (
          <>
            <label>
              Your address
              <input
                type="email"
                name="address"
                autoComplete="email"
                placeholder="ann@example.com"
                required
                // biome-ignore lint/a11y/noAutofocus: the only field of a page that asks one thing
                autoFocus
                value={value}
                onChange={(event) => setValue(event.target.value)}
              />
            </label>
            <label>
              Role
              <select name="role" value={role} onChange={(event) => setRole(event.target.value)}>
                <option value="">None</option>
                <option value="CUSTOMER">Customer</option>
                <option value="SELLER">Seller</option>
                <option value="BANK">Bank</option>
              </select>
            </label>
          </>
        ) : (
          <label>
            Token
            <input
              type="password"
              name="token"
              autoComplete="off"
              required
              // biome-ignore lint/a11y/noAutofocus: the only field of a page that asks one thing
              autoFocus
              value={value}
              onChange={(event) => setValue(event.target.value)}
            />
          </label>
        )}
        <button type="submit" className="primary">
          Open inbox
        </button>
        {AUTH_MODE === 'dev' && <p className="hint">This server is in development mode: anybody may be anybody.</p>}
      </form>
      <Links />
    </main>
  );
}
