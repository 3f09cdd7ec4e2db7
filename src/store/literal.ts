/**
 * Compiles a function that makes an object from one JavaScript expression for each property. It takes as long as a
 * literal in the code; a loop over the properties takes eight times as long, and makes reading a page 18 % slower.
 */
export function compileLiteral<Values extends readonly unknown[], Model>(
  parameters: string,
  properties: Readonly<Record<keyof Model & string, string>>,
): (...values: Values) => Model {
  const literal = Object.entries(properties).map(([property, expression]) => `${property}: ${expression}`);
  return new Function(parameters, `return { ${literal.join(', ')} };`) as (...values: Values) => Model;
}

/** The expression of each property. */
export function expressions<Property extends string>(
  properties: readonly Property[],
  expression: (property: Property, index: number) => string,
): Record<Property, string> {
  return Object.fromEntries(properties.map((property, index) => [property, expression(property, index)])) as Record<
    Property,
    string
  >;
}
