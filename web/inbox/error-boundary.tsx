import { Component, type ReactNode } from 'react';
import { goTo } from './route.ts';

interface ErrorBoundaryProps {
  readonly children: ReactNode;
}

/** Shows a message in place of components that failed. React supports this in class components only. */
export class ErrorBoundary extends Component<ErrorBoundaryProps, { readonly failure: string | null }> {
  override state = { failure: null };

  static getDerivedStateFromError(error: unknown) {
    return { failure: String(error) };
  }

  override render() {
    if (this.state.failure === null) return this.props.children;
    return (
      <main className="welcome">
        <h1>Kredichat</h1>
        <div className="card crash" role="alert">
          <h2>Something went wrong</h2>
          <p>The page cannot go on. What you wrote and did not send is kept where the browser allows it.</p>
          <p className="hint">{this.state.failure}</p>
          {/* biome-ignore lint/a11y/noAutofocus: the focus was in a component that failed, and is lost */}
          <button type="button" className="primary" autoFocus onClick={() => location.reload()}>
            Reload
          </button>
          <button
            type="button"
            onClick={() => {
              goTo(null);
              this.setState({ failure: null });
            }}
          >
            Back to the list
          </button>
        </div>
      </main>
    );
  }
}
