// A line without axes on a canvas: the course of a few dozen numbers.
import { colour } from "./dom.js";

/** @param {HTMLCanvasElement} canvas @param {number[]} values @param {string} name a custom property with the colour */
export function spark(canvas, values, name) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0) return;
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = colour(canvas, name);
  pen.lineWidth = 1.4;
  pen.lineJoin = "round";
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  pen.beginPath();
  if (values.length < 2) {
    pen.moveTo(0, height / 2);
    pen.lineTo(width, height / 2);
  }
  values.forEach((value, i) => {
    const x = (i / Math.max(1, values.length - 1)) * width;
    const y = height - 2 - ((value - low) / span) * (height - 4);
    if (i === 0) pen.moveTo(x, y);
    else pen.lineTo(x, y);
  });
  pen.stroke();
}
