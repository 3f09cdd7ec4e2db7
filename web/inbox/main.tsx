import { createRoot } from 'react-dom/client';
import { App } from './app.tsx';
import { ignoreInputMethodKeys } from './input-method.ts';

ignoreInputMethodKeys();
const root = document.getElementById('inbox');
if (root) createRoot(root).render(<App />);
