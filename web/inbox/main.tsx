import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { DropNotice } from './drop-notice.tsx';
import { ErrorBoundary } from './error-boundary.tsx';
import { ignoreInputMethodKeys } from './input-method.ts';

ignoreInputMethodKeys();
const root = document.getElementById('inbox');
if (root) {
  createRoot(root).render(
    <>
      <ErrorBoundary>
        <App />
      </ErrorBoundary>
      <DropNotice />
    </>,
  );
}
